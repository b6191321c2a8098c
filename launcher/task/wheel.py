"""This launcher as a wheel, for machines that have nothing of ours: made from its installed files, the same bytes each time."""

from __future__ import annotations

import base64
import hashlib
import tomllib
import zipfile
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import launcher
import runtime
from runtime.config.problem import Problem, UserError
from runtime.config.resources import data_dir

_DISTRIBUTION = "finetune-launcher"
_DATA = ("templates", "images")
_LEFT_OUT = ("__pycache__", ".mypy_cache", ".ruff_cache")


def write_wheel(folder: Path) -> Path:
    """The path of a wheel of the running version in `folder`. Raises UserError when the launcher runs without being installed."""
    metadata = _metadata()
    name, version = _DISTRIBUTION.replace("-", "_"), launcher.__version__
    info = f"{name}-{version}.dist-info"
    files = dict(_packages())
    files[f"{info}/METADATA"] = metadata.encode()
    files[f"{info}/WHEEL"] = b"Wheel-Version: 1.0\nGenerator: finetune-launcher\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    files[f"{info}/entry_points.txt"] = b"[console_scripts]\nlauncher = launcher.cli.app:main\n"
    record = "".join(f"{path},sha256={_digest(content)},{len(content)}\n" for path, content in sorted(files.items()))
    files[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n".encode()
    folder.mkdir(parents=True, exist_ok=True)
    wheel = folder / f"{name}-{version}-py3-none-any.whl"
    fresh = wheel.with_suffix(".partial")
    with zipfile.ZipFile(fresh, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, content in sorted(files.items()):
            # A date of its own would make a new wheel of the same files.
            entry = zipfile.ZipInfo(path, date_time=(1980, 1, 1, 0, 0, 0))
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            archive.writestr(entry, content)
    fresh.replace(wheel)
    return wheel


def _metadata() -> str:
    """Name, version and requirements: from the checkout's own project file, which an editable install may be older than, else as installed."""
    assert launcher.__file__ is not None
    project_file = Path(launcher.__file__).resolve().parent.parent / "pyproject.toml"
    if project_file.is_file():
        return _metadata_of(tomllib.loads(project_file.read_text(encoding="utf-8"))["project"])
    try:
        return distribution(_DISTRIBUTION).read_text("METADATA") or ""
    except PackageNotFoundError:
        raise UserError(
            Problem(
                code="not-installed",
                message="the launcher is not installed, so there is nothing to install on the rented machine",
                fix="pip install the launcher, or name an image that has it with --image",
            )
        ) from None


def _metadata_of(project: Mapping[str, Any]) -> str:
    lines = [
        "Metadata-Version: 2.3",
        f"Name: {project['name']}",
        f"Version: {launcher.__version__}",
        f"Requires-Python: {project['requires-python']}",
    ]
    lines += [f"Requires-Dist: {needed}" for needed in project["dependencies"]]
    for extra, requirements in project["optional-dependencies"].items():
        lines += [f"Provides-Extra: {extra}", *(f"Requires-Dist: {_of_extra(needed, extra)}" for needed in requirements)]
    return "\n".join(lines) + "\n"


def _of_extra(needed: str, extra: str) -> str:
    """The requirement, which may have a condition of its own, where the extra is wanted."""
    what, _, condition = (part.strip() for part in needed.partition(";"))
    return f"{what}; ({condition}) and extra == '{extra}'" if condition else f"{what}; extra == '{extra}'"


def _packages() -> Iterator[tuple[str, bytes]]:
    for package in (launcher, runtime):
        assert package.__file__ is not None
        root = Path(package.__file__).resolve().parent
        yield from _below(root, root.name, leave_out=("_data",))
    for name in _DATA:
        yield from _below(data_dir(name), f"runtime/_data/{name}")


def _below(root: Path, prefix: str, *, leave_out: tuple[str, ...] = ()) -> Iterator[tuple[str, bytes]]:
    for file in sorted(root.rglob("*")):
        relative = file.relative_to(root)
        if file.is_file() and not any(part in (*_LEFT_OUT, *leave_out) for part in relative.parts) and file.suffix != ".pyc":
            yield f"{prefix}/{relative.as_posix()}", file.read_bytes()


def _digest(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
