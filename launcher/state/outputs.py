"""What a run has left in its output folder: checkpoints and the final model."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from runtime.checkpoint.layout import CHECKPOINTS, FINAL, STORED, step_of
from runtime.checkpoint.manifest import is_sealed


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointFolder:
    """A checkpoint on disk, or at an address in a storage. `sealed` says that its manifest, the file written last, is there and reads; the other files are not looked at."""

    step: int
    path: Path | str
    sealed: bool


def list_checkpoints(output_dir: Path) -> list[CheckpointFolder]:
    """The checkpoints in `output_dir`, by step; staging folders are left out."""
    folder = output_dir / CHECKPOINTS
    if not folder.is_dir():
        return []
    found = [
        CheckpointFolder(step=step, path=entry, sealed=is_sealed(entry))
        for entry in folder.iterdir()
        if (step := step_of(entry.name)) is not None and entry.is_dir()
    ]
    return sorted(found, key=lambda checkpoint: checkpoint.step)


def newest_sealed_step(output_dir: Path) -> int:
    """Step of the newest sealed checkpoint, -1 when there is none. Where several machines hold a part of it each, that is the newest they sealed in the storage."""
    steps = [checkpoint.step for checkpoint in list_checkpoints(output_dir) if checkpoint.sealed]
    with suppress(OSError, ValueError):
        steps.append(int((output_dir / STORED).read_text(encoding="ascii")))
    return max(steps, default=-1)


def final_folder(output_dir: Path) -> Path | None:
    """The sealed final model in the output folder; None when there is none."""
    return output_dir / FINAL if is_sealed(output_dir / FINAL) else None


def disk_use(folder: Path) -> int:
    """Bytes of all files below `folder`; files that vanish meanwhile do not count."""
    total = 0
    for entry in folder.rglob("*"):
        try:
            if entry.is_file() and not entry.is_symlink():
                total += entry.stat().st_size
        except OSError:
            continue
    return total
