"""plan.lock: a plan on disk, so that what was approved is what runs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from launcher.plan.fingerprint import hash_file
from launcher.plan.plan import Plan
from runtime.config.problem import ExitCode, Problem, UserError
from runtime.record import write_atomic

if TYPE_CHECKING:
    from runtime.config.load import Checked

SCHEMA = "launcher.plan/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lock:
    """A plan read back: the run's name, the checked config exactly as planned, the folder its paths are relative to, and the plan's own JSON."""

    run: str
    checked: Checked
    folder: Path
    plan: dict[str, Any]


def is_lock(path: Path) -> bool:
    """Whether the file is a plan and not a recipe: JSON with the plan's schema name near its start."""
    try:
        with path.open("rb") as stream:
            head = stream.read(200)
    except OSError:
        return False
    return head.lstrip().startswith(b"{") and f'"schema": "{SCHEMA}"'.encode() in head


def write_lock(path: Path, plan: Plan, *, folder: Path) -> None:
    """Write the plan to `path` whole. Raises OSError when it cannot be written, and UserError for a refused plan, which nobody may run."""
    plan.refuse()
    content = {
        "schema": SCHEMA,
        "run": plan.run,
        "folder": str(folder),
        "config_hash": plan.config_hash,
        "config": plan.config_yaml,
        "plan": plan.to_json(),
    }
    write_atomic(path, json.dumps(content, indent=1, ensure_ascii=False).encode() + b"\n")


def read_lock(path: Path) -> Lock:
    """The plan in `path`, checked: its config must still read the same, and its local data must hold the same bytes.

    Raises UserError (exit 2) for a file that is no plan, (exit 3) for one whose inputs have changed since it was made.
    """
    from runtime.config.load import check_text, config_hash
    from runtime.plugins.loading import search_folders

    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        run, folder, text, expected = str(content["run"]), Path(content["folder"]), str(content["config"]), str(content["config_hash"])
        plan: dict[str, Any] = content["plan"]
        files = plan["data"]["files"]
        if content["schema"] != SCHEMA:
            raise ValueError(f"its schema is {content['schema']}")
    except FileNotFoundError:
        raise UserError(
            Problem(code="missing-file", place=str(path), message="there is no such plan", fix=f"make one: launcher plan RECIPE -o {path}")
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            Problem(
                code="bad-plan",
                place=str(path),
                message=f"this file is not a plan: {error!s}",
                fix=f"make a new one: launcher plan RECIPE -o {path}",
            )
        ) from error
    # Plugins stay beside the recipe the plan was made from.
    checked = check_text(text, file=str(path), plugin_folders=search_folders(str(folder / str(plan.get("recipe", "")))))
    if checked.errors or checked.config is None:
        raise UserError(checked.errors)
    problems = _changed(files, folder, path)
    if config_hash(checked.config) != expected:
        problems.append(_stale(path, "its config no longer means what it did: the plan was edited, or made by another version"))
    if problems:
        raise UserError(problems, exit_code=ExitCode.REFUSED)
    return Lock(run=run, checked=checked, folder=folder, plan=plan)


def _changed(files: list[dict[str, Any]], folder: Path, path: Path) -> list[Problem]:
    problems = []
    for file in files:
        place = Path(str(file["path"])).expanduser()
        place = place if place.is_absolute() else folder / place
        try:
            now = hash_file(place)
        except OSError:
            problems.append(_stale(path, f"its data file {file['path']} cannot be read any more"))
            continue
        if (now.sha256, now.size) != (file["sha256"], file["size"]):
            problems.append(_stale(path, f"its data file {file['path']} has changed since"))
    return problems


def _stale(path: Path, message: str) -> Problem:
    return Problem(code="stale-plan", place=str(path), message=message, fix="plan again, look at it, and run the new plan")
