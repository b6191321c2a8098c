"""Problems as text: where, what, and indented below it what to do."""

from __future__ import annotations

from collections.abc import Sequence

from runtime.config.problem import Problem


def render_problems(problems: Sequence[Problem], *, kind: str = "problem") -> str:
    """All problems in the order of their files and lines, with a closing count when there are several.

    `kind` names them: `problem` for what stops a command, `warning` for what does not.
    """
    blocks = [_render(problem, kind) for problem in _in_file_order(problems)]
    if len(blocks) > 1:
        blocks.append(f"{len(blocks)} {kind}s")
    return "\n".join(blocks)


def _in_file_order(problems: Sequence[Problem]) -> list[Problem]:
    files: dict[str, int] = {}
    for problem in problems:
        files.setdefault(problem.file, len(files))
    # Problems without a line concern the whole file and come first.
    return sorted(problems, key=lambda problem: (files[problem.file], problem.line or 0, problem.column or 0))


def _render(problem: Problem, kind: str) -> str:
    head = f"{problem.where}: " if problem.where else ""
    if kind != "problem":
        head += f"{kind}: "
    lines = [head + problem.message]
    if problem.fix:
        lines += ["  " + line for line in problem.fix.splitlines()]
    elif problem.suggestion:
        lines.append(f"  did you mean '{problem.suggestion}'?")
    return "\n".join(lines)
