"""A run's inputs in its storage: sent once from where the run is submitted, fetched by every machine it comes to."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from pydantic import BaseModel, ConfigDict, Field

from launcher.state.stored_run import INPUTS, StoredRun
from runtime.checkpoint.checksum import Digest
from runtime.checkpoint.disk import sync_file
from runtime.config.problem import ExitCode, Problem, UserError

_INDEX = f"{INPUTS}/index.json"


class _File(BaseModel):
    model_config = ConfigDict(extra="ignore")
    size: int
    checksum: str


class _Index(BaseModel):
    model_config = ConfigDict(extra="ignore")
    files: dict[str, _File] = Field(default_factory=dict)


def send_inputs(stored: StoredRun, files: Iterable[tuple[str, Path]]) -> int:
    """Send every file under its path below `inputs`, the index last; returns the bytes sent."""
    index = _Index()
    for name, source in files:
        key = stored.place.key(f"{INPUTS}/{name}")
        digest = stored.place.patiently(lambda key=key, source=source: stored.place.store.put_file(key, source), stored.place.url(INPUTS))  # type: ignore[misc]
        index.files[name] = _File(size=digest.size, checksum=digest.checksum)
    stored.place.patiently(lambda: stored.write_json(_INDEX, index.model_dump()), stored.place.url(INPUTS))
    return sum(file.size for file in index.files.values())


def remove_inputs(stored: StoredRun) -> None:
    """Remove all that was sent, the index first, so that nobody takes what is left for whole."""
    store = stored.place.store
    stored.place.patiently(lambda: store.delete(stored.place.key(_INDEX)))
    for key in [found.key for found in stored.place.patiently(lambda: list(store.list(stored.place.key(f"{INPUTS}/"))))]:
        stored.place.patiently(lambda key=key: store.delete(key))  # type: ignore[misc]


def fetch_inputs(stored: StoredRun, folder: Path) -> int:
    """Bring to `folder` what of the inputs is not there yet; returns how many files came. Raises UserError (exit 7) when one arrives damaged."""
    raw = stored.place.patiently(lambda: stored.json(_INDEX), stored.place.url(INPUTS))
    index = _Index.model_validate(raw or {})
    came = 0
    for name, file in sorted(index.files.items()):
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts:
            raise _damaged(stored, name, "leads out of its folder")
        target = folder / path
        if target.is_file() and target.stat().st_size == file.size:
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        fresh = target.with_name(f".{target.name}.partial")
        fresh.unlink(missing_ok=True)
        digest = stored.place.patiently(lambda name=name, fresh=fresh: _get(stored, name, fresh), stored.place.url(INPUTS))  # type: ignore[misc]
        if (digest.size, digest.checksum) != (file.size, file.checksum):
            raise _damaged(stored, name, "differs from what was sent")
        # What is here later is taken for what was sent by its size alone.
        sync_file(fresh)
        fresh.replace(target)
        came += 1
    return came


def _get(stored: StoredRun, name: str, target: Path) -> Digest:
    target.unlink(missing_ok=True)
    return stored.place.store.get_file(stored.place.key(f"{INPUTS}/{name}"), target)


def _damaged(stored: StoredRun, name: str, why: str) -> UserError:
    return UserError(
        Problem(code="wrong-checksum", message=f"{name} {why}", place=stored.place.url(INPUTS), fix="submit the run again"),
        exit_code=ExitCode.NOT_VERIFIED,
    )
