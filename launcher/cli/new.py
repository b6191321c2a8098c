"""`launcher new FAMILY`: a recipe to begin with, rendered for a size, a method and, where they are named, for GPUs and a dataset."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from launcher.estimate.estimate import Estimate
    from runtime.config.problem import Problem


def new(
    family: Annotated[str, typer.Argument(help="A family; `launcher families` lists them.", show_default=False)],
    size: Annotated[str, typer.Option("--size", help="One of its sizes, such as 8b.", show_default=False)],
    method: Annotated[str, typer.Option("--method", help="full, lora, qlora or pretrain.", show_default=False)],
    dataset: Annotated[
        str | None,
        typer.Option("--dataset", help="A file or folder, or a dataset on the Hub. Default: a small public one.", show_default=False),
    ] = None,
    gpus: Annotated[
        str | None,
        typer.Option(
            "--gpus",
            metavar="KIND:COUNT",
            help="Make it fit these, such as L40S:1: how they share the work, and the batch.",
            show_default=False,
        ),
    ] = None,
    nodes: Annotated[int, typer.Option("--nodes", min=1, help="Machines with those GPUs.")] = 1,
    sets: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Write a value into the recipe.")] = None,
    variables: Annotated[
        list[str] | None, typer.Option("--var", metavar="NAME=VALUE", help="A variable of a template of your own.")
    ] = None,
    templates: Annotated[
        Path | None, typer.Option("--templates", help="A folder of your own families and templates.", show_default=False)
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Write it to this file instead of printing it.", show_default=False)
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file when it exists.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Write a recipe to begin with: commented, validated, with a schema that editors complete from."""
    import os

    from launcher.cli.output import emit_json, note, note_problems, say
    from launcher.estimate.gpus import parse_gpus
    from launcher.estimate.hardware import cards
    from launcher.estimate.new_recipe import new_recipe
    from launcher.estimate.target_facts import template_target
    from launcher.recipe.catalogue import Order, read_catalogue
    from launcher.recipe.dataset import describe
    from launcher.recipe.schema_file import schema_place, write_schema
    from launcher.recipe.template import read_variables
    from launcher.recipe.template_folders import template_folders

    catalogue = read_catalogue(template_folders(templates, environment=os.environ))
    catalogue.tuning(family, size, method)
    _check_words(output, force=force, gpus=gpus, nodes=nodes)
    schema, reference = schema_place(output)
    order = Order(
        family=family,
        size=size,
        method=method,
        dataset=describe(dataset, text_only=method == "pretrain"),
        dataset_given=dataset is not None,
        schema=reference,
        target=template_target(gpus, nodes=nodes),
        variables=read_variables(variables or []),
    )
    made = new_recipe(catalogue, order, sets=sets or [], hardware=cards(parse_gpus(gpus), nodes=nodes) if gpus else None)
    is_new = write_schema(schema)
    if output is not None:
        output.write_text(made.text, encoding="utf-8")
        note(f"wrote {output}" + (f", and {schema} for editors to complete and check it from" if is_new else ""))
    warnings = [*made.warnings, *_tight(made.estimate)]
    if as_json:
        data = {
            "family": family,
            "size": size,
            "method": method,
            "file": str(output) if output else None,
            "schema": str(schema),
            "text": made.text,
        }
        emit_json("new", data | {"estimate": made.estimate.to_json() if made.estimate else None}, warnings=warnings)
        return
    note_problems(warnings, kind="warning")
    if output is None:
        say(made.text.rstrip("\n"))


def _check_words(output: Path | None, *, force: bool, gpus: str | None, nodes: int) -> None:
    from runtime.config.problem import Problem, UserError

    problems = []
    if output is not None and output.exists() and not force:
        problems.append(
            Problem(code="conflict", place=str(output), message="the file exists", fix="Choose another name, or replace it with --force.")
        )
    if output is not None and not output.parent.is_dir():
        problems.append(
            Problem(code="missing-file", place=str(output.parent), message="there is no such folder", fix=f"mkdir -p {output.parent}")
        )
    if nodes > 1 and gpus is None:
        problems.append(Problem(code="usage", place="--nodes", message="it counts machines with GPUs", fix="Name the GPUs with --gpus."))
    if problems:
        raise UserError(problems)


def _tight(made: Estimate | None) -> list[Problem]:
    from runtime.config.problem import Problem

    if made is None or made.memory.verdict != "tight":
        return []
    held, card = made.memory.held, made.memory.capacity_gib
    return [
        Problem(
            code="tight",
            place=f"--gpus {made.hardware.name}",
            message=f"a GPU must hold {held.low:.1f} to {held.high:.1f} GiB, and one of these has {card:.1f}: it may run out of memory",
            fix="Shorter rows need less: `--set sequence_len=1024`.",
        )
    ]
