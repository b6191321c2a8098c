"""The import path that gives another interpreter this installation's `runtime` package and nothing else."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import runtime


def runtime_only_path(state_root: Path) -> Path:
    """A folder that holds one link, to the installed `runtime` package, for PYTHONPATH.

    The site-packages folder itself would also bring the laptop half's pydantic, huggingface_hub and the rest, in versions the training stack cannot use.
    """
    package = Path(runtime.__file__).resolve().parent
    folder = state_root / "runtime-path" / hashlib.sha256(str(package).encode()).hexdigest()[:12]
    link = folder / "runtime"
    if not link.is_symlink():
        folder.mkdir(parents=True, exist_ok=True)
        fresh = folder / f".runtime-{os.getpid()}"
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(package, target_is_directory=True)
        fresh.replace(link)
    return folder
