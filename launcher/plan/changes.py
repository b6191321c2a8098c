"""What has changed since a plan was made, each thing by its name: in its own text, in its files, around it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import launcher
from launcher.plan.fingerprint import hash_file
from launcher.plan.git_state import GitState, git_state
from runtime.config.problem import Problem


def changes_in_files(files: Sequence[dict[str, Any]], folder: Path, plan: Path) -> list[Problem]:
    """Local files that no longer hold the bytes the plan was made with; relative ones start from `folder`."""
    problems = []
    for file in files:
        place = Path(str(file["path"])).expanduser()
        place = place if place.is_absolute() else folder / place
        try:
            now = hash_file(place)
        except OSError:
            problems.append(stale(plan, f"its file {file['path']} cannot be read any more"))
            continue
        if now.size != file["size"]:
            problems.append(stale(plan, f"its file {file['path']} has changed since: it had {file['size']:,} bytes and has {now.size:,}"))
        elif now.sha256 != file["sha256"]:
            problems.append(stale(plan, f"its file {file['path']} has changed since: the same size, another content"))
    return problems


def changes_in_config(text: str, options: Any, plan: Path) -> list[Problem]:
    """Options whose value in the plan's config is not the one that was planned."""
    import yaml

    # As JSON has it, which knows neither dates nor numbers as keys.
    now = json.loads(json.dumps(yaml.safe_load(text), default=str))
    if not isinstance(options, dict) or not isinstance(now, dict):
        return []
    return [
        stale(plan, f"it was edited: {name} was {_shown(before)} and is {_shown(after)}")
        for name, before, after in _differences(options, now)
    ]


def changes_to_know(pins: dict[str, Any], recipe: Path, plan: Path) -> list[Problem]:
    """What is worth knowing and changes nothing of the run, whose config and files are fixed: another commit, another version of the launcher, names that
    nobody could fix."""
    warnings = []
    before = GitState(**pins["git"]) if pins.get("git") else None
    now = git_state(recipe.parent) if before is not None and recipe.parent.is_dir() else None
    if before is not None and now is not None and now != before:
        warnings.append(
            _worth_knowing(plan, f"git was at {before} when it was planned and is at {now}; the plan's own config is what runs")
        )
    if pins.get("version") and pins["version"] != launcher.__version__:
        warnings.append(_worth_knowing(plan, f"it was made by launcher {pins['version']}, and this is {launcher.__version__}"))
    for pin in pins.get("named", ()):
        if pin["fixed"] is None:
            warnings.append(
                _worth_knowing(plan, f"{pin['name']} could not be fixed when it was planned ({pin['why']}) and may have changed")
            )
    return warnings


def stale(plan: Path, message: str) -> Problem:
    """The refusal of a plan that is no longer true."""
    return Problem(code="stale-plan", place=str(plan), message=message, fix="plan again, look at it, and run the new plan")


def _worth_knowing(plan: Path, message: str) -> Problem:
    return Problem(code="plan-age", place=str(plan), message=message, fix="plan again to bring it up to date")


def _differences(before: Any, after: Any, path: str = "") -> list[tuple[str, Any, Any]]:
    """The dotted names of the values that differ, with both values."""
    if isinstance(before, dict) and isinstance(after, dict):
        names = list(dict.fromkeys([*before, *after]))
        return [one for name in names for one in _differences(before.get(name), after.get(name), f"{path}.{name}" if path else str(name))]
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        return [one for at, pair in enumerate(zip(before, after, strict=True)) for one in _differences(*pair, f"{path}[{at}]")]
    return [] if before == after else [(path, before, after)]


def _shown(value: Any) -> str:
    text = "unset" if value is None else str(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
