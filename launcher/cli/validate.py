"""`launcher validate`: every problem of recipes, with line numbers and fixes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from runtime.config.problem import Problem


def validate(
    files: Annotated[list[Path], typer.Argument(help="Recipe files.", show_default=False)],
    sets: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Lay a value over every recipe, such as lora_r=32 or datasets[0].path=a.jsonl."),
    ] = None,
    variables: Annotated[
        list[str] | None, typer.Option("--var", metavar="NAME=VALUE", help="A variable of a recipe that is a template.")
    ] = None,
    fix: Annotated[bool, typer.Option("--fix", help="Rewrite old option names in the files; comments and order stay.")] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Say nothing about recipes without errors.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show every problem of recipes, with line numbers and fixes."""
    from launcher.cli.output import emit_json, note_problems, say
    from launcher.recipe.template import read_variables
    from runtime.config.problem import ExitCode

    values = read_variables(variables or [])
    if fix:
        for file in files:
            _fix(file, values)
    results = [(file, *_checked(file, sets or [], values)) for file in files]
    failed = [problem for _, errors, _ in results for problem in errors]
    if as_json:
        emit_json("validate", {"files": [_file_json(file, errors, warnings) for file, errors, warnings in results]}, ok=not failed)
    else:
        for file, errors, warnings in results:
            if not errors and not quiet:
                say(f"{file}: valid" + (f", {_counted(len(warnings), 'warning')}" if warnings else ""))
        note_problems([problem for _, _, warnings in results for problem in warnings], kind="warning")
        note_problems(failed)
    if failed:
        raise typer.Exit(ExitCode.INVALID)


def _checked(file: Path, sets: list[str], variables: dict[str, Any]) -> tuple[tuple[Problem, ...], tuple[Problem, ...]]:
    from launcher.recipe.load import load_recipe
    from runtime.config.problem import UserError

    try:
        checked = load_recipe(file, sets=sets, variables=variables).checked
    except UserError as error:  # one unreadable file must not hide what is wrong with the others
        return error.problems, ()
    return checked.errors, checked.warnings


def _fix(file: Path, variables: dict[str, Any]) -> None:
    from launcher.cli.output import note
    from launcher.recipe.fix import with_current_names, write_over
    from launcher.recipe.load import load_recipe
    from launcher.recipe.template import is_template
    from runtime.config.problem import UserError

    try:
        warnings = load_recipe(file, variables=variables).checked.warnings
    except UserError:  # the check that follows says what is wrong with it
        return
    text = file.read_bytes().decode("utf-8")  # as bytes, so that Windows line ends stay
    if is_template(file, text):
        note(f"{file}: a template is not rewritten")
        return
    better, count = with_current_names(text, warnings)
    if count:
        write_over(file, better)
        note(f"{file}: {_counted(count, 'name')} rewritten")


def _file_json(file: Path, errors: tuple[Problem, ...], warnings: tuple[Problem, ...]) -> dict[str, Any]:
    return {
        "file": str(file),
        "ok": not errors,
        "errors": [_problem_json(problem) for problem in errors],
        "warnings": [_problem_json(problem) for problem in warnings],
    }


def _problem_json(problem: Problem) -> dict[str, Any]:
    return {
        "code": problem.code,
        "path": problem.path,
        "line": problem.line,
        "column": problem.column,
        "where": problem.where,
        "message": problem.message,
        "fix": problem.fix,
        "suggestion": problem.suggestion,
    }


def _counted(number: int, word: str) -> str:
    return f"{number} {word}" + ("" if number == 1 else "s")
