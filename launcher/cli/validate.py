"""`launcher validate`: every problem of recipes, with line numbers and fixes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from launcher.estimate.gpus import GpuCount
    from runtime.config.environment import Resolved
    from runtime.config.load import Checked
    from runtime.config.problem import Problem


def validate(
    files: Annotated[list[Path], typer.Argument(help="Recipe files.", show_default=False)],
    sets: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Lay a value over every recipe, such as lora_r=32 or datasets.0.path=a.jsonl."),
    ] = None,
    variables: Annotated[
        list[str] | None, typer.Option("--var", metavar="NAME=VALUE", help="A variable of a recipe that is a template.")
    ] = None,
    templates: Annotated[
        Path | None, typer.Option("--templates", help="A folder of your own families and templates.", show_default=False)
    ] = None,
    fix: Annotated[
        bool, typer.Option("--fix", help="Rewrite old option names in the files and add plugins they lack; comments and order stay.")
    ] = False,
    gpus: Annotated[
        str | None,
        typer.Option(help="Check against GPUs of this kind and count too, `A100-80GB:8`; those of the recipe's launch section by default."),
    ] = None,
    nodes: Annotated[int | None, typer.Option(min=1, help="Number of machines with those GPUs.")] = None,
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
            _fix(file, values, templates)
    wanted = _gpus(gpus)
    results = [(file, *_checked(file, sets or [], values, gpus=wanted, nodes=nodes, templates=templates)) for file in files]
    failed = [problem for _, errors, _, _ in results for problem in errors]
    if as_json:
        emit_json("validate", {"files": [_file_json(*result) for result in results]}, ok=not failed)
    else:
        for file, errors, warnings, resolved in results:
            if not errors and not quiet:
                say(f"{file}: valid" + (f", {_counted(len(warnings), 'warning')}" if warnings else ""))
                for one in resolved:
                    say(f"  {one}")
        note_problems([problem for _, _, warnings, _ in results for problem in warnings], kind="warning")
        note_problems(failed)
    if failed:
        raise typer.Exit(ExitCode.INVALID)


def _gpus(text: str | None) -> GpuCount | None:
    if text is None:
        return None
    from launcher.estimate.gpus import parse_gpus

    return parse_gpus(text)


def _checked(
    file: Path, sets: list[str], variables: dict[str, Any], *, gpus: GpuCount | None, nodes: int | None, templates: Path | None
) -> tuple[tuple[Problem, ...], tuple[Problem, ...], tuple[Resolved, ...]]:
    from launcher.recipe.load import load_recipe
    from runtime.config.problem import UserError

    target = {"name": gpus.gpu.name, "count": gpus.count} if gpus is not None else None
    try:
        checked = load_recipe(file, sets=sets, variables=variables, target=target, templates=templates).checked
    except UserError as error:  # one unreadable file must not hide what is wrong with the others
        return error.problems, (), ()
    if checked.config is None or (gpus is None and checked.config.launch.gpus is None):
        return checked.errors, checked.warnings, ()
    return _on_target(checked, gpus, nodes)


def _on_target(
    checked: Checked, gpus: GpuCount | None, nodes: int | None
) -> tuple[tuple[Problem, ...], tuple[Problem, ...], tuple[Resolved, ...]]:
    """What is wrong with a sound recipe on the GPUs it is for: those given, else any that its launch section names."""
    from launcher.estimate.gpus import parse_gpus
    from launcher.plan.environment import rented_machine, target_problems
    from runtime.config.problem import UserError

    assert checked.config is not None
    launch = checked.config.launch
    errors: list[Problem] = []
    kinds = [gpus] if gpus is not None else []
    for index, name in enumerate(launch.kinds if gpus is None else ()):
        try:
            kinds.append(parse_gpus(name))
        except UserError as error:
            path = ("launch", "gpus", index) if isinstance(launch.gpus, list) else ("launch", "gpus")
            errors += [
                checked.document.problem(path, code=told.code, message=told.message, fix=told.fix, suggestion=told.suggestion)
                for told in error.problems
            ]
    machines = [rented_machine(kind, nodes=nodes or launch.nodes) for kind in kinds]
    more, warnings, resolved = target_problems(checked.config, machines, checked.document)
    return (*errors, *more), (*checked.warnings, *warnings), tuple(resolved)


def _fix(file: Path, variables: dict[str, Any], templates: Path | None) -> None:
    from launcher.cli.output import note
    from launcher.recipe.fix import with_current_names, with_plugins, write_over
    from launcher.recipe.load import load_recipe
    from launcher.recipe.template import is_template
    from runtime.config.problem import UserError

    try:
        # What it extends is another file, and stays as it is.
        found = load_recipe(file, variables=variables, templates=templates).checked.warnings
        warnings = [problem for problem in found if problem.file == str(file)]
    except UserError:  # the check that follows says what is wrong with it
        return
    text = file.read_bytes().decode("utf-8")  # as bytes, so that Windows line ends stay
    if is_template(file, text):
        note(f"{file}: a template is not rewritten")
        return
    better, count = with_current_names(text, warnings)
    better, added = with_plugins(better, warnings)
    if count or added:
        write_over(file, better)
    if count:
        note(f"{file}: {_counted(count, 'name')} rewritten")
    if added:
        note(f"{file}: {_counted(added, 'plugin')} added")


def _file_json(file: Path, errors: tuple[Problem, ...], warnings: tuple[Problem, ...], resolved: tuple[Resolved, ...]) -> dict[str, Any]:
    # Without a target nothing is resolved, and nothing is said of it.
    more = {"resolved": [{"option": one.option, "value": one.value, "why": one.why} for one in resolved]} if resolved else {}
    return {
        "file": str(file),
        "ok": not errors,
        "errors": [_problem_json(problem) for problem in errors],
        "warnings": [_problem_json(problem) for problem in warnings],
    } | more


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
