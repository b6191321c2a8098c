"""Results on stdout, messages on stderr, and the one JSON object of `--json`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import typer

from runtime.config.problem import Problem


def say(text: str = "") -> None:
    """Write a result to stdout."""
    typer.echo(text)


def note(text: str = "", *, end: str = "\n") -> None:
    """Write a message to stderr."""
    typer.echo(text + end, err=True, nl=False)


def problem_json(problem: Problem) -> dict[str, Any]:
    """The JSON form of one problem: `code, where, message, fix`, and `path, line, suggestion` when they are known."""
    known = {"path": problem.path, "line": problem.line, "suggestion": problem.suggestion}
    return {"code": problem.code, "where": problem.where, "message": problem.message, "fix": problem.fix} | {
        key: value for key, value in known.items() if value
    }


def envelope(
    command: str,
    data: Mapping[str, Any] | None,
    *,
    warnings: Iterable[Problem] = (),
    problems: Sequence[Problem] = (),
    ok: bool | None = None,
) -> dict[str, Any]:
    """The object every `--json` prints. `problems` make `error`; `ok` defaults to there being none."""
    error = None
    if problems:
        error = problem_json(problems[0]) | {"problems": [problem_json(problem) for problem in problems]}
    return {
        "schema": f"launcher.{command}/1",
        "ok": not problems if ok is None else ok,
        "data": dict(data) if data is not None else None,
        "warnings": [problem_json(warning) for warning in warnings],
        "error": error,
    }


def emit_json(
    command: str,
    data: Mapping[str, Any] | None,
    *,
    warnings: Iterable[Problem] = (),
    problems: Sequence[Problem] = (),
    ok: bool | None = None,
) -> None:
    """Print the envelope; the only thing a command prints on stdout with `--json`. Numbers JSON has no name for (NaN) become null."""
    content = _finite(envelope(command, data, warnings=warnings, problems=problems, ok=ok))
    typer.echo(json.dumps(content, ensure_ascii=False, allow_nan=False, default=str))


def note_problems(problems: Sequence[Problem], *, kind: str = "problem") -> None:
    """Write problems or warnings to stderr, grouped by where they are."""
    from launcher.show.problems import render_problems

    if problems:
        note(render_problems(problems, kind=kind))


def is_interactive() -> bool:
    """Whether a question can be asked: both sides of the conversation are terminals."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def _finite(value: Any) -> Any:
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
