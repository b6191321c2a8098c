"""Benchmarks of a trained model through EleutherAI's lm-evaluation-harness."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import Any

from runtime.checkpoint.checksum import digest_bytes
from runtime.checkpoint.manifest import is_sealed, read_manifest
from runtime.config.problem import Problem, UserError
from runtime.model.load import seed_of
from runtime.record import write_atomic

FILE = "lm_eval.json"
# As the reference has it.
_BATCH = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark:
    """What `model` reached: for each task its measures (`acc`, `exact_match,strict`, …), and the harness's own report."""

    model: str
    scores: dict[str, dict[str, float]]
    report: dict[str, Any]

    def sentence(self) -> str:
        """`arc_easy acc 0.6123; gsm8k exact_match 0.31`: the first measure of each task."""
        firsts = [(task, *next(iter(measures.items()))) for task, measures in self.scores.items() if measures]
        return "; ".join(f"{task} {measure} {value:.4g}" for task, measure, value in firsts)


def require_benchmark(config: Any) -> None:
    """Nothing, when the tasks of `lm_eval_tasks` can be run here. Raises UserError when the package is missing or does not know a task."""
    if find_spec("lm_eval") is None:
        raise UserError(
            Problem(
                code="unsupported",
                path="lm_eval_tasks",
                message="benchmarks need the package lm_eval, which is not installed here",
                fix="pip install lm_eval, or remove `lm_eval_tasks`",
            )
        )
    known = _tasks(_names_any(config)).all_tasks
    problems = []
    for index, task in enumerate(config.lm_eval_tasks):
        if task in known or _is_file(task):
            continue
        near = get_close_matches(task, known, n=1)
        problems.append(
            Problem(
                code="unknown-name",
                path=f"lm_eval_tasks[{index}]",
                message=f"lm_eval has no task {task!r}",
                fix=f"did you mean {near[0]!r}?" if near else "`lm_eval ls tasks` lists them; the path of a task's YAML file works too",
            )
        )
    if problems:
        raise UserError(problems)


def run_benchmark(config: Any, folder: Path) -> Benchmark:
    """Run the recipe's tasks on `lm_eval_model` or, without one, on the trained model in `folder`, an adapter over its base included.

    Raises whatever the harness raises: data that cannot be fetched, memory that is not enough.
    """
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM

    from runtime.publish.trained import load_trained, this_device

    device, batch = this_device(), config.lm_eval_batch_size or _BATCH
    with _quiet_bars():
        if config.lm_eval_model:
            lm = HFLM(pretrained=config.lm_eval_model, device=device, batch_size=batch, trust_remote_code=bool(config.trust_remote_code))
        else:
            model, tokenizer = load_trained(config, folder, device=device)
            model.config.use_cache = True
            lm = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=batch)
        seed = seed_of(config)
        found = simple_evaluate(
            model=lm,
            tasks=[str(Path(task).expanduser()) if _is_file(task) else task for task in config.lm_eval_tasks],
            task_manager=_tasks(_names_any(config)),
            log_samples=False,
            random_seed=seed,
            numpy_random_seed=seed % 2**32,
            torch_random_seed=seed,
        )
    report = {key: found[key] for key in ("results", "groups", "versions", "n-shot", "n-samples", "higher_is_better") if key in found}
    return Benchmark(model=config.lm_eval_model or str(folder), scores=_scores(report["results"]), report=report)


def benchmark_now(config: Any, folder: Path, run: Path) -> tuple[Benchmark, Path]:
    """Run the tasks at once and write the results into the run's folder `run`. Raises UserError with what went wrong."""
    require_benchmark(config)
    try:
        found = run_benchmark(config, folder)
    except UserError:
        raise
    except Exception as error:
        said = (str(error).strip().splitlines() or [""])[0]
        raise UserError(
            Problem(
                code="benchmark-failed",
                path="lm_eval_tasks",
                message=f"the benchmark failed: {type(error).__name__}: {said}",
                fix="tasks fetch their data from the Hub: check the network, HF_TOKEN for gated data, and a smaller lm_eval_batch_size for memory",
            )
        ) from error
    write_benchmark(found, config, folder, run / FILE)
    return found, run / FILE


def write_benchmark(benchmark: Benchmark, config: Any, folder: Path, target: Path) -> None:
    """Write the results to `target`, with which model and tasks they are of."""
    from importlib.metadata import version

    document = {
        "state": "done",
        "of": subject(config, folder),
        "model": benchmark.model,
        "lm_eval": version("lm_eval"),
        "scores": benchmark.scores,
        **benchmark.report,
    }
    write_atomic(target, json.dumps(document, indent=1, default=str).encode() + b"\n")


def subject(config: Any, folder: Path) -> str:
    """What results belong to: the sealed model, or the named one, and the tasks."""
    named: str = config.lm_eval_model or (digest_bytes(read_manifest(folder).encode()).checksum if is_sealed(folder) else str(folder))
    return f"{named} on {', '.join(config.lm_eval_tasks)}"


@cache
def _tasks(named: bool) -> Any:
    """The harness's index of tasks. Its own are thousands of files, read in ten seconds or more: once, and only when a task is `named`."""
    from lm_eval.tasks import TaskManager

    return TaskManager(include_defaults=named)


def _names_any(config: Any) -> bool:
    return not all(_is_file(task) for task in config.lm_eval_tasks)


def _is_file(task: str) -> bool:
    return task.endswith((".yaml", ".yml")) and Path(task).expanduser().is_file()


def _scores(results: dict[str, dict[str, Any]]) -> dict[str, dict[str, float]]:
    """The numbers, under short names: `acc` for `acc,none`. Names of tasks and counts are left out."""
    return {
        task: {
            name.removesuffix(",none"): float(value)
            for name, value in measures.items()
            if "," in name and isinstance(value, int | float) and not isinstance(value, bool)
        }
        for task, measures in results.items()
    }


@contextmanager
def _quiet_bars() -> Iterator[None]:
    # The harness draws bars, which fill a log that is no terminal.
    if sys.stderr.isatty():
        yield
        return
    with redirect_stderr(StringIO()):
        yield
