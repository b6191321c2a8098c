"""What an image is built from: one folder with the recipe of the image, the locked stack and this launcher."""

from __future__ import annotations

import shutil
from pathlib import Path

from launcher.task.wheel import write_wheel
from runtime.config.resources import data_dir

_FILES = ("Dockerfile", "entrypoint.sh", "requirements-train.txt")


def write_context(folder: Path) -> None:
    """Put into `folder` all that `images/Dockerfile` copies. Raises UserError when the launcher is not installed and thus has no wheel."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in _FILES:
        shutil.copy2(data_dir("images") / name, folder / name)
    # An installed wheel may have lost it.
    (folder / "entrypoint.sh").chmod(0o755)
    write_wheel(folder)


def locked_torch() -> str:
    """The version of torch that the locked stack names."""
    lines = (data_dir("images") / "requirements-train.txt").read_text(encoding="utf-8").splitlines()
    return next(line.removeprefix("torch==") for line in lines if line.startswith("torch=="))
