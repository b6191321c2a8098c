"""The manifest of a sealed checkpoint: what files it has, their sizes and checksums, and where it came from.

A folder without a manifest that verifies is not a checkpoint. The text has one canonical form and carries its own checksum, so a manifest that
was cut off or edited in any byte is recognised before anything it says is believed.
"""

from __future__ import annotations

import errno
import json
import math
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator

from runtime.checkpoint.checksum import Digest, digest_bytes, digest_files
from runtime.checkpoint.disk import disk_error
from runtime.checkpoint.layout import MANIFEST
from runtime.checkpoint.tree import list_tree
from runtime.config.problem import ExitCode, Problem, UserError

FORMAT_VERSION = 2
# A thousand shards make about 200 KB; anything far beyond is not a manifest and is not read into memory.
MAX_MANIFEST_BYTES = 64 << 20

# What makes one checkpoint useless: a reason to take an older one, or to write this one again. Anything else (no permission, a disk that is away, a
# newer version's format) says nothing about the checkpoint, and acting on it would throw work away.
DAMAGE = frozenset({"bad-manifest", "missing-file", "wrong-size", "wrong-checksum", "unreadable-file"})
_BAD_MEDIUM = frozenset({errno.EIO, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.EBADMSG})

_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f\\]")


def check_relative(path: str) -> str:
    """`path` itself when it names a place below a folder or prefix: relative, `/` between parts, no `.` or `..`. Raises ValueError."""
    if not path or path.startswith("/") or re.match(r"[A-Za-z]:", path):
        raise ValueError(f"{path!r} is not a relative path")
    if _FORBIDDEN.search(path) or any(part in ("", ".", "..") for part in path.split("/")):
        raise ValueError(f"{path!r} leaves its folder or is not a plain name")
    return path


def _without_infinities(value: JsonValue) -> JsonValue:
    """`value` with `nan` and the infinities as words: JSON has no numbers for them, and a diverged loss must not prevent a seal."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, list):
        return [_without_infinities(item) for item in value]
    if isinstance(value, dict):
        return {key: _without_infinities(item) for key, item in value.items()}
    return value


Kind = Literal["checkpoint", "final", "merged", "weights", "portion"]
"""A step of training, the trained model, that model with its adapter merged in, the weights alone of a run that had no time for more; or what one of
several machines holds of a step, which is no checkpoint without the portions of the others."""
RelativePath = Annotated[str, AfterValidator(check_relative)]
Fact = Annotated[JsonValue, AfterValidator(_without_infinities)]


class ManifestFile(BaseModel):
    """One file of a checkpoint."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    path: RelativePath = Field(description="Where it belongs inside the checkpoint's folder.")
    size: int = Field(ge=0, description="Bytes.")
    checksum: str = Field(pattern=r"^xxh3_128(_8m)?:[0-9a-f]{32}$")
    key: RelativePath | None = Field(
        default=None, description="In a store: the object that holds it, below the run's prefix. Unset in a local folder."
    )


class Manifest(BaseModel):
    """Everything that belongs to one sealed checkpoint, or to the final model."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    format_version: Literal[2] = 2
    kind: Kind = "checkpoint"
    run: str = ""
    step: int = Field(ge=0, description="Optimizer steps behind these weights.")
    created: float = Field(allow_inf_nan=False, description="Unix seconds, by the writer's clock; for people, never for ordering.")
    files: tuple[ManifestFile, ...] = Field(strict=False, min_length=1)
    config_hash: str = ""
    world_size: int = Field(default=1, ge=1, description="Training processes that wrote it.")
    attempt: int = Field(default=1, ge=0, description="Which life of the run wrote it; the higher one is the run's present.")
    extra: dict[str, Fact] = Field(default_factory=dict, description="The writer's own facts, such as the metric of this step.")

    @model_validator(mode="after")
    def _paths_are_distinct(self) -> Manifest:
        seen: set[str] = set()
        for file in self.files:
            if file.path in seen:
                raise ValueError(f"{file.path!r} is listed twice")
            if file.path == MANIFEST:
                raise ValueError("a manifest does not list itself")
            seen.add(file.path)
        for path in seen:
            if any(str(parent) in seen for parent in Path(path).parents):
                raise ValueError(f"{path!r} lies below a path that is listed as a file")
        return self

    @property
    def total_bytes(self) -> int:
        """Bytes of all files together, the manifest not counted."""
        return sum(file.size for file in self.files)

    def encode(self) -> bytes:
        """The canonical text, checksum included: the only bytes `parse_manifest` accepts for this manifest."""
        body = self.model_dump(mode="json")
        body["files"] = [file.model_dump(mode="json", exclude_none=True) for file in self.files]
        return _seal_text(body)

    @property
    def content_mark(self) -> str:
        """Eight digits that differ where the files do."""
        lines = sorted(f"{file.path} {file.size} {file.checksum}" for file in self.files)
        return digest_bytes("\n".join(lines).encode()).checksum[-8:]

    def same_content(self, other: Manifest) -> bool:
        """Whether both name the same state: step, config and every file's bytes, wherever they are kept."""
        return (self.kind, self.step, self.config_hash, _contents(self)) == (other.kind, other.step, other.config_hash, _contents(other))


def parse_manifest(content: bytes, *, place: str) -> Manifest:
    """The manifest in `content`. Raises UserError (`newer-format`, `older-format`, `bad-manifest`) naming `place`."""
    try:
        document: Any = json.loads(content.decode("utf-8"))
        if not isinstance(document, dict):
            raise ValueError("not a JSON object")
        body = {key: value for key, value in document.items() if key != "checksum"}
        # The canonical form and its checksum are the same in every format version, so damage is told from news first.
        if _seal_text(body) != content:
            raise ValueError("its content does not match its own checksum: it was cut off or changed after sealing")
        version = document.get("format_version")
        if isinstance(version, int) and version != FORMAT_VERSION:
            newer = version > FORMAT_VERSION
            raise UserError(
                Problem(
                    code="newer-format" if newer else "older-format",
                    message=f"this checkpoint has manifest format {version}; this version of finetune-launcher reads {FORMAT_VERSION}",
                    place=place,
                    fix="pip install --upgrade finetune-launcher" if newer else "go on with the version of finetune-launcher that wrote it",
                )
            )
        return Manifest.model_validate(body)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise _bad_manifest(f"{where}: {first['msg']}" if where else first["msg"], place) from error
    except (ValueError, RecursionError) as error:
        raise _bad_manifest(str(error), place) from error


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a local folder. Raises UserError: `unsealed` when there is none, else as `parse_manifest`."""
    path = folder / MANIFEST
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_MANIFEST_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError(
            Problem(
                code="unsealed", message=f"no {MANIFEST}: this folder was never sealed", place=str(folder), fix="use another checkpoint"
            ),
            exit_code=ExitCode.NOT_VERIFIED,
        ) from error
    except OSError as error:
        raise UserError(_unreadable(error, MANIFEST, folder), exit_code=ExitCode.NOT_VERIFIED) from error
    if len(content) > MAX_MANIFEST_BYTES:
        raise _bad_manifest("too large to be a manifest", str(path))
    return parse_manifest(content, place=str(path))


def is_sealed(folder: Path) -> bool:
    """Whether a folder carries a manifest that reads; its files are not looked at."""
    try:
        read_manifest(folder)
    except UserError:
        return False
    return True


def verify(folder: Path, manifest: Manifest, *, deep: bool = True) -> tuple[Problem, ...]:
    """Everything in which `folder` differs from `manifest`, empty when nothing: `missing-file`, `wrong-size`, `wrong-checksum`, `extra-file`.

    With `deep` every byte is read; without, only names and sizes are compared. A folder inside that has a manifest of its own is a seal of its
    own (`final/merged`) and is not looked into, unless `manifest` lists files there.
    """
    place = str(folder)
    try:
        tree = list_tree(folder, skip_hidden_work=True)
    except OSError as error:
        return (_unreadable(error, "this folder", folder),)
    problems: list[Problem] = []
    to_read: dict[str, ManifestFile] = {}
    for file in manifest.files:
        size = tree.files.get(file.path)
        if size is None:
            what = "is not a plain file" if file.path in tree.others else "is missing"
            problems.append(Problem(code="missing-file", message=f"{file.path} {what}", place=place))
        elif problem := difference(file, Digest(size=size, checksum=file.checksum), place):
            problems.append(problem)
        elif deep:
            to_read[file.path] = file
    problems += _check_contents(folder, to_read)
    for name in sorted({*tree.files, *tree.others} - {file.path for file in manifest.files} - {MANIFEST}):
        if not any(name.startswith(f"{nested}/") for nested in tree.sealed_below):
            problems.append(Problem(code="extra-file", message=f"{name} is not part of this checkpoint", place=place))
    return tuple(problems)


def difference(file: ManifestFile, found: Digest, place: str) -> Problem | None:
    """In what `found` is not what the manifest says of `file`: `wrong-size`, `wrong-checksum`; None when they agree."""
    if found.size != file.size:
        off = abs(found.size - file.size)
        by = f"{off:,} {'byte' if off == 1 else 'bytes'} {'short' if found.size < file.size else 'too long'}"
        return Problem(code="wrong-size", message=f"{file.path} is {by} (found {found.size:,}, expected {file.size:,})", place=place)
    if found.checksum != file.checksum:
        return Problem(code="wrong-checksum", message=f"the content of {file.path} changed after sealing (checksum differs)", place=place)
    return None


def _check_contents(folder: Path, files: dict[str, ManifestFile]) -> list[Problem]:
    place = str(folder)
    try:
        digests = digest_files(folder, files)
    except OSError as error:
        return [_unreadable(error, Path(error.filename or "a file").name, folder)]
    return [problem for path, digest in digests.items() if (problem := difference(files[path], digest, place))]


def _unreadable(error: OSError, what: str, folder: Path) -> Problem:
    if error.errno in _BAD_MEDIUM:
        return Problem(code="unreadable-file", message=f"{what} cannot be read: {error.strerror}", place=str(folder))
    return disk_error(error, folder).problems[0]


def _contents(manifest: Manifest) -> frozenset[tuple[str, int, str]]:
    return frozenset((file.path, file.size, file.checksum) for file in manifest.files)


def _seal_text(body: dict[str, Any]) -> bytes:
    text = json.dumps(body, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
    whole = {**body, "checksum": digest_bytes(text).checksum}
    return json.dumps(whole, sort_keys=True, indent=1, allow_nan=False).encode() + b"\n"


def _bad_manifest(reason: str, place: str) -> UserError:
    return UserError(
        Problem(
            code="bad-manifest",
            message=f"this manifest is not valid: {reason}",
            place=place,
            fix="use another checkpoint; this one cannot be trusted",
        ),
        exit_code=ExitCode.NOT_VERIFIED,
    )
