"""`python -m runtime`: the commands of the image half. Heavy imports wait until a command needs them."""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from runtime.config.problem import ExitCode, Problem, UserError

# Read when torch's OpenMP library loads. Threads that spin while they wait starve each other as soon as anything else runs on the machine: on two busy
# cores training was eight times slower with the library's default.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

app = typer.Typer(
    name="runtime",
    help="Prepare, train, evaluate, merge, try and publish one recipe.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Recipe = Annotated[Path, typer.Argument(metavar="CONFIG", help="The recipe, a YAML file.")]
Overrides = Annotated[
    list[str], typer.Option("--set", metavar="KEY=VALUE", help="Lay a value over the recipe's; may be given several times.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else on stdout.")]


@app.command()
def train(recipe: Recipe, overrides: Overrides = [], as_json: Json = False) -> None:  # noqa: B006 - Typer copies it
    """Train, sealing checkpoints on the way; go on from the newest sealed one when there is one."""
    from runtime.training.stop import StopNow, StopRequest

    stop = StopRequest()
    stop.install()
    with _answering("train", as_json) as answer:
        try:
            config = _load(recipe, overrides, answer)
            code = _train_here_or_in_several(config, recipe, overrides, stop)
        except StopNow:
            code = ExitCode.INTERRUPTED
        answer.code = int(code)
        answer.data = {"output_dir": config.output_dir if code == ExitCode.OK else None}


@app.command()
def preprocess(recipe: Recipe, overrides: Overrides = [], as_json: Json = False) -> None:  # noqa: B006
    """Load, render, tokenize, mask and pack the recipe's data into the cache."""
    with _answering("preprocess", as_json) as answer:
        config = _load(recipe, overrides, answer)
        _quiet(config)
        from runtime.data.preprocess import preprocess as prepare_data

        answer.data = prepare_data(config, as_json=as_json)


@app.command()
def evaluate(recipe: Recipe, overrides: Overrides = [], as_json: Json = False) -> None:  # noqa: B006
    """Measure the trained model on the recipe's validation rows, and on the benchmarks of `lm_eval_tasks`."""
    with _answering("evaluate", as_json) as answer:
        config = _load(recipe, overrides, answer)
        _quiet(config)
        from runtime.publish.evaluation import evaluate as measure
        from runtime.publish.trained import best_of

        folder, answer.data = best_of(_final(config)), {}
        if config.val_set_size or config.test_datasets or not config.lm_eval_tasks:
            result = measure(config, folder)
            answer.data = asdict(result) | {"path": str(result.path)}
            answer.say(f"loss {result.loss:.4f}, perplexity {result.perplexity:.2f} on {result.rows:,} rows")
        if config.lm_eval_tasks:
            from runtime.publish.benchmark import benchmark_now

            benchmark, file = benchmark_now(config, folder, Path(config.output_dir).expanduser())
            answer.data |= {"path": str(folder), "benchmark": benchmark.scores, "benchmark_path": str(file)}
            answer.say(f"{benchmark.sentence()}\nall results: {file}")


@app.command()
def merge(recipe: Recipe, overrides: Overrides = [], as_json: Json = False) -> None:  # noqa: B006
    """Merge the trained adapter into its base."""
    with _answering("merge", as_json) as answer:
        config = _load(recipe, overrides, answer)
        _quiet(config)
        from runtime.publish.merge import merge as merge_adapter

        path = merge_adapter(config, _final(config))
        answer.data = {"path": str(path)}
        answer.say(str(path))


@app.command()
def publish(recipe: Recipe, overrides: Overrides = [], as_json: Json = False) -> None:  # noqa: B006
    """Merge and verify the trained model, as the recipe's `launch.publish` says, send it to `launch.storage` and push it to `hub_model_id`."""
    with _answering("publish", as_json) as answer:
        config = _load(recipe, overrides, answer)
        _quiet(config)
        from runtime.publish.publish import publish as make_ready

        path = make_ready(config)
        answer.data = {"path": str(path)}
        answer.say(str(path))


@app.command()
def chat(
    recipe: Recipe,
    overrides: Overrides = [],  # noqa: B006
    prompt: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Say this and leave. Without it, and at a terminal: a conversation.")
    ] = None,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Longest answer, in tokens.")] = 256,
    temperature: Annotated[float, typer.Option(min=0.0, help="0 takes the likeliest token each time.")] = 0.0,
) -> None:
    """Talk to the trained model."""
    with _answering("chat", False) as answer:
        config = _load(recipe, overrides, answer)
        if prompt is None and not sys.stdin.isatty():
            prompt = sys.stdin.read().strip()
        if prompt == "":
            raise UserError(Problem(code="missing", message="there is nothing to say to the model", fix="--prompt TEXT"))
        _quiet(config)
        from runtime.publish.chat import Conversation
        from runtime.publish.trained import best_of, load_trained, this_device

        model, tokenizer = load_trained(config, best_of(_final(config)), device=this_device())
        conversation = Conversation(model, tokenizer, max_new_tokens=max_new_tokens, temperature=temperature)
        for text in [prompt] if prompt is not None else _typed():
            conversation.say(text, _write)
            _write("\n")


def main() -> None:
    """Run the command line."""
    app()


class _Answer:
    """What a command ends with."""

    def __init__(self, command: str, as_json: bool) -> None:
        self.command = command
        self.as_json = as_json
        self.code = int(ExitCode.OK)
        self.data: Any = None
        self.warnings: tuple[Problem, ...] = ()
        self.problems: tuple[Problem, ...] = ()

    def say(self, text: str) -> None:
        """Print a result for people."""
        if not self.as_json:
            _write(text + "\n")

    def close(self) -> None:
        """Print the errors, or the one JSON object."""
        for problem in () if self.as_json else self.problems:
            _tell(f"error: {problem}" if not problem.where else str(problem))
        if self.as_json:
            error = (
                {"code": self.problems[0].code, "message": "; ".join(p.message for p in self.problems), "fix": self.problems[0].fix}
                if self.problems
                else None
            )
            document = {
                "schema": f"launcher.{self.command}/1",
                "ok": self.code == ExitCode.OK,
                "data": self.data,
                "warnings": [{"code": p.code, "where": p.where, "message": p.message, "fix": p.fix} for p in self.warnings],
                "error": error,
            }
            _write(json.dumps(document, ensure_ascii=False) + "\n")


@contextmanager
def _answering(command: str, as_json: bool) -> Iterator[_Answer]:
    answer = _Answer(command, as_json)
    try:
        yield answer
    except UserError as error:
        answer.problems, answer.code = error.problems, int(error.exit_code)
    except KeyboardInterrupt:
        answer.code = int(ExitCode.CANCELLED)
    except Exception as error:
        if os.environ.get("LAUNCHER_DEBUG") == "1":
            raise
        if "LAUNCHER_RUN" in os.environ:
            # Standard error is the run's log then, and a failure hours into a run may not come back for a second look.
            traceback.print_exc()
        message = f"internal error: {type(error).__name__}: {error}"
        answer.problems, answer.code = (
            (Problem(code="internal", message=message, fix="LAUNCHER_DEBUG=1 shows where; please report it"),),
            int(ExitCode.INTERNAL),
        )
    answer.close()
    sys.stdout.flush()
    sys.stderr.flush()
    if answer.code:
        raise SystemExit(answer.code)


def _load(recipe: Path, overrides: list[str], answer: _Answer) -> Any:
    from runtime.config.load import load_config

    checked = load_config(recipe, overrides)
    answer.warnings = checked.warnings
    from runtime.training.processes import Rank

    if Rank.from_environment(dict(os.environ)).is_main:
        for warning in checked.warnings:
            _tell(f"warning: {warning}")
    return checked.config


def _train_here_or_in_several(config: Any, recipe: Path, overrides: list[str], stop: Any) -> int:
    from runtime.training.folder import RunFolder, create
    from runtime.training.job import Surroundings
    from runtime.training.nodes import Nodes
    from runtime.training.processes import die_with_parent, run_processes, under_torchrun, wanted_processes

    surroundings = Surroundings.of(os.environ)
    count = wanted_processes(config)
    if (count > 1 or Nodes.of(os.environ).count > 1) and not under_torchrun():
        folder = RunFolder(path=Path(config.output_dir).expanduser())
        create(folder)
        verdict = (surroundings.state_dir or folder.path) / "exit.json"
        arguments = ["train", str(recipe), *(part for override in overrides for part in ("--set", override))]
        return run_processes(count, arguments, verdict=verdict, grace_s=config.launch.recovery.grace_s)
    if surroundings.verdict is not None:
        die_with_parent()
    from runtime.training.imports import leave_out_unused

    leave_out_unused(config)
    from runtime.training.train import train as train_model

    try:
        return int(train_model(config, surroundings, stop))
    except UserError as error:
        # The parent prints what its children left in the verdict, once.
        if surroundings.verdict is not None:
            raise SystemExit(int(error.exit_code)) from error
        raise


def _final(config: Any) -> Path:
    from runtime.training.folder import RunFolder

    return RunFolder(path=Path(config.output_dir).expanduser()).final


def _quiet(config: Any) -> None:
    from runtime.model.network import go_offline_if_alone

    go_offline_if_alone(config)
    from runtime.training.quiet import quiet_libraries

    quiet_libraries(debug=os.environ.get("LAUNCHER_DEBUG") == "1")


def _typed(read: Callable[[str], str] = input) -> Iterator[str]:
    _tell("say something; an empty line or Ctrl-D ends")
    while True:
        try:
            text = read("> ").strip()
        except EOFError:
            return
        if not text:
            return
        yield text


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _tell(text: str) -> None:
    sys.stderr.write(text + "\n")


if __name__ == "__main__":
    main()
