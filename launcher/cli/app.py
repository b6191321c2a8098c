"""The `launcher` command: which commands there are, and how any of them ends."""

from __future__ import annotations

import gc
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

import typer

import launcher
from launcher.cli.output import emit_json, note, note_problems
from launcher.state.refusals import refusal
from runtime.config.problem import ExitCode, Problem, UserError


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One command and where its function lives. The module is imported only when the command is used, which keeps `--help` quick."""

    name: str
    summary: str

    @property
    def module(self) -> str:
        """The module that holds the function of the command's name."""
        return f"launcher.cli.{self.name}"


COMMANDS = (
    Command(name="families", summary="List recipe families: sizes, methods, licences, memory."),
    Command(name="new", summary="Write a recipe for a family, a size and a method."),
    Command(name="render", summary="Print the plain training config of a recipe."),
    Command(name="validate", summary="Show every problem of recipes, with line numbers and fixes."),
    Command(name="explain", summary="Explain one option: meaning, type, default, effect."),
    Command(name="schema", summary="Print the JSON Schema of recipes for editors."),
    Command(name="estimate", summary="Estimate memory, time and cost of a recipe."),
    Command(name="offers", summary="List what machines with GPUs cost."),
    Command(name="plan", summary="Decide and pin everything about a run before it starts."),
    Command(name="up", summary="Plan, confirm and run a recipe."),
    Command(name="ps", summary="List runs, the newest first."),
    Command(name="status", summary="Show one run: its state, progress, checkpoints and attempts."),
    Command(name="logs", summary="Show the log of a run; -f follows it."),
    Command(name="metrics", summary="Draw loss, learning rate, speed and memory of a run."),
    Command(name="stop", summary="Stop a run at a sealed checkpoint."),
    Command(name="resume", summary="Go on from a run's newest sealed checkpoint."),
    Command(name="down", summary="Free everything a run holds."),
    Command(name="doctor", summary="Find lost runs, leaks and leftovers, and say what to do."),
    Command(name="pull", summary="Copy the final model of a run, verified."),
    Command(name="merge", summary="Merge the trained adapter of a run into its base model."),
    Command(name="chat", summary="Talk to the model of a run."),
    Command(name="evaluate", summary="Evaluate the model of a run on its validation data."),
    Command(name="publish", summary="Merge and verify the model of a trained run again."),
    Command(name="image", summary="Build or push the runtime image."),
)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit with its code. Problems of the user's making never show a traceback."""
    # Start-up makes many small objects that all stay: looking for garbage among them costs a tenth of it.
    gc.set_threshold(50_000, 20, 20)
    # Pydantic would look through every installed package for plugins; there are none to find.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    words = list(sys.argv[1:] if arguments is None else arguments)
    invoked = _invoked(words)
    as_json = "--json" in words[: words.index("--") if "--" in words else None]
    debug = bool(os.environ.get("LAUNCHER_DEBUG"))
    try:
        result = build_app(invoked)(args=words, prog_name="launcher", standalone_mode=False)
        code = result if isinstance(result, int) else ExitCode.OK
        sys.stdout.flush()
    except UserError as error:
        code = _report(invoked, error.problems, error.exit_code, as_json=as_json)
        if debug:
            traceback.print_exc()
    except KeyboardInterrupt:
        note("cancelled")
        code = ExitCode.CANCELLED
    except BrokenPipeError:
        # The reader went away (`launcher ps | head`); what is left unwritten must not fail again at interpreter exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = ExitCode.INTERNAL
    except Exception as error:  # noqa: BLE001 - the outermost frame translates whatever is left into one line
        problem, code = _translated(error)
        _report(invoked, (problem,), code, as_json=as_json)
        if debug:
            traceback.print_exc()
    sys.exit(int(code))


def build_app(invoked: str | None = None) -> typer.Typer:
    """The Typer application; only the module of the command `invoked` is imported, all others are listed by name."""
    app = typer.Typer(
        name="launcher",
        help="Fine-tune a language model from one recipe: checked and priced before it runs, resumed when it is killed, verified when it ends.",
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )

    @app.callback()
    def _launcher(
        version: bool = typer.Option(False, "--version", help="Print the version and exit.", is_eager=True, callback=_print_version),
    ) -> None:
        """Parse the options before the command."""

    for command in COMMANDS:
        function = _load(command) if command.name == invoked else _listed
        app.command(command.name, help=command.summary if function is _listed else None, short_help=command.summary)(function)
    return app


def _load(command: Command) -> Callable[..., Any]:
    function: Callable[..., Any] = getattr(import_module(command.module), command.name)
    return function


def _listed() -> None:
    raise AssertionError("only the command that was asked for is called, and that one is loaded")


def _invoked(words: Sequence[str]) -> str | None:
    """The command the words ask for; for shell completion, the command on the line being completed."""
    if "_LAUNCHER_COMPLETE" in os.environ:
        words = os.environ.get("COMP_WORDS", os.environ.get("_TYPER_COMPLETE_ARGS", "")).split()[1:]
    return next((word for word in words if not word.startswith("-")), None)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"launcher {launcher.__version__}")
        raise typer.Exit


def _report(command: str | None, problems: Sequence[Problem], code: int, *, as_json: bool) -> int:
    if as_json:
        emit_json(command or "launcher", None, problems=problems)
    note_problems(problems)
    return code


def _translated(error: Exception) -> tuple[Problem, ExitCode]:
    """An exception that is no UserError as a problem with its exit code."""
    # Typer's own exception classes are private, their two methods are not.
    if hasattr(error, "format_message") and hasattr(error, "exit_code"):
        context = getattr(error, "ctx", None)
        path = context.command_path if context is not None else "launcher"
        return Problem(
            code="usage", message=error.format_message(), place=path, fix=f"`{path} --help` shows what it takes"
        ), ExitCode.INVALID
    if isinstance(error, OSError) and error.filename is not None:
        return refusal(error, Path(str(error.filename))), ExitCode.INVALID
    return Problem(
        code="internal",
        message=f"internal error: {type(error).__name__}: {error}",
        fix="this is a defect of the launcher: run it again with LAUNCHER_DEBUG=1 and report what it prints, together with `launcher --version`",
    ), ExitCode.INTERNAL
