"""plan.lock: a plan on disk, so that what was approved is what runs. One of a single run, or of all runs of a sweep."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from launcher.plan.changes import changes_in_config, changes_in_files, changes_to_know, stale
from launcher.plan.pins import Pins
from launcher.plan.plan import Plan
from launcher.plan.sweep import Member, SweepPlan
from runtime.config.problem import ExitCode, Problem, UserError
from runtime.record import write_atomic

if TYPE_CHECKING:
    from runtime.config.load import Checked

SCHEMA = "launcher.plan/1"
SWEEP_SCHEMA = "launcher.sweep/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lock:
    """A plan read back: the run's name, the checked config exactly as planned, the folder its paths are relative to, and the plan's own JSON.

    `warnings` are about what has changed since and does not change the run; `member` is the run's part in a sweep.
    """

    run: str
    checked: Checked
    folder: Path
    plan: dict[str, Any]
    warnings: tuple[Problem, ...] = ()
    member: Member | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepLock:
    """The plans of a sweep's runs, and the sweep's own JSON."""

    name: str
    runs: tuple[Lock, ...]
    plan: dict[str, Any]


def is_lock(path: Path) -> bool:
    """Whether the file is a plan and not a recipe: JSON with the name of a plan's schema near its start."""
    return _schema(path) is not None


def is_sweep_lock(path: Path) -> bool:
    """Whether the file is the plan of a sweep."""
    return _schema(path) == SWEEP_SCHEMA


def write_lock(path: Path, plan: Plan, *, folder: Path, pins: Pins | None = None) -> None:
    """Write the plan to `path` whole. Raises OSError when it cannot be written, and UserError for a refused plan, which nobody may run."""
    plan.refuse()
    _write(path, _content(plan, folder, pins))


def write_sweep_lock(path: Path, sweep: SweepPlan, *, folder: Path, pins: Sequence[Pins | None]) -> None:
    """Write the plan of a sweep, as `write_lock` does."""
    if sweep.refusals:
        raise UserError(sweep.refusals, exit_code=ExitCode.REFUSED)
    whole = {key: value for key, value in sweep.to_json().items() if key != "runs"}
    runs = [
        _content(plan, folder, pin) | {"values": dict(member.values)}
        for member, plan, pin in zip(sweep.members, sweep.plans, pins, strict=True)
    ]
    _write(path, {"schema": SWEEP_SCHEMA, "plan": whole, "runs": runs})


def read_lock(path: Path) -> Lock:
    """The plan in `path`, checked: its config must still read the same, and its local files must hold the same bytes.

    Raises UserError (exit 2) for a file that is no plan, (exit 3) for one whose inputs have changed since it was made, each change by name.
    """
    content = _read(path, SCHEMA)
    lock, problems = _lock(content, path)
    _refuse(content, problems, path)
    return lock


def read_sweep_lock(path: Path) -> SweepLock:
    """The plan of a sweep in `path`, checked as `read_lock` does, for all runs at once."""
    content = _read(path, SWEEP_SCHEMA)
    problems: list[Problem] = []
    runs: list[Lock] = []
    try:
        name, rows = str(content["plan"]["sweep"]), list(content["runs"])
        members = [Member(sweep=name, number=number, values=dict(row["values"])) for number, row in enumerate(rows, 1)]
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(_broken(path, f"{type(error).__name__} {error}")) from error
    for row, member in zip(rows, members, strict=True):
        lock, found = _lock(row, path, member=member)
        runs.append(lock)
        problems += [problem for problem in found if problem not in problems]
    _refuse(content, problems, path)
    return SweepLock(name=name, runs=tuple(runs), plan=content["plan"])


def _content(plan: Plan, folder: Path, pins: Pins | None) -> dict[str, Any]:
    import yaml

    return {
        "schema": SCHEMA,
        "run": plan.run,
        "folder": str(folder),
        "config_hash": plan.config_hash,
        "config": plan.config_yaml,
        # The same once more, so that an edit of the text can be named.
        "options": yaml.safe_load(plan.config_yaml),
        "pins": pins.to_json() if pins is not None else None,
        "plan": plan.to_json(),
    }


def _refuse(content: dict[str, Any], problems: list[Problem], path: Path) -> None:
    """Raise UserError (exit 3) for what has changed, and for an edit that nothing else has named."""
    if not problems and content.get("sha256") != _checksum(content):
        problems = [stale(path, "it was edited: it is not what was written")]
    if problems:
        raise UserError(problems, exit_code=ExitCode.REFUSED)


def _checksum(content: dict[str, Any]) -> str:
    plain = {key: value for key, value in content.items() if key != "sha256"}
    # As it will be read back: JSON knows no tuples, and no keys but texts.
    return hashlib.sha256(json.dumps(json.loads(json.dumps(plain, default=str)), sort_keys=True).encode()).hexdigest()


def _write(path: Path, content: dict[str, Any]) -> None:
    content |= {"sha256": _checksum(content)}
    write_atomic(path, json.dumps(content, indent=1, ensure_ascii=False, default=str).encode() + b"\n")


def _schema(path: Path) -> str | None:
    try:
        with path.open("rb") as stream:
            head = stream.read(200)
    except OSError:
        return None
    if not head.lstrip().startswith(b"{"):
        return None
    return next((schema for schema in (SCHEMA, SWEEP_SCHEMA) if f'"schema": "{schema}"'.encode() in head), None)


def _read(path: Path, schema: str) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if content["schema"] != schema:
            raise ValueError(f"its schema is {content['schema']}")
    except FileNotFoundError:
        raise UserError(
            Problem(code="missing-file", place=str(path), message="there is no such plan", fix=f"make one: launcher plan RECIPE -o {path}")
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(_broken(path, str(error))) from error
    return content


def _lock(content: dict[str, Any], path: Path, *, member: Member | None = None) -> tuple[Lock, list[Problem]]:
    """One run's plan, and what has changed under it."""
    from runtime.config.load import check_text, config_hash
    from runtime.plugins.loading import search_folders

    try:
        run, folder, text, expected = str(content["run"]), Path(content["folder"]), str(content["config"]), str(content["config_hash"])
        plan: dict[str, Any] = content["plan"]
        pins: dict[str, Any] = content.get("pins") or {}
        files = [*plan["data"]["files"], *pins.get("files", [])]
        problems = changes_in_files(files, folder, path)
        warnings = changes_to_know(pins, folder / str(plan.get("recipe", "")), path)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(_broken(path, str(error))) from error
    # Plugins stay beside the recipe the plan was made from.
    checked = check_text(text, file=str(path), plugin_folders=search_folders(str(folder / str(plan.get("recipe", "")))))
    if checked.errors or checked.config is None:
        raise UserError(checked.errors)
    edited = changes_in_config(text, content.get("options"), path)
    problems += edited
    if not edited and config_hash(checked.config) != expected:
        problems.append(stale(path, "its config no longer means what it did: the plan was made by another version"))
    return Lock(run=run, checked=checked, folder=folder, plan=plan, warnings=tuple(warnings), member=member), problems


def _broken(path: Path, why: str) -> Problem:
    return Problem(
        code="bad-plan",
        place=str(path),
        message=f"this file is not a plan: {why}",
        fix=f"make a new one: launcher plan RECIPE -o {path}",
    )
