"""What a run does once its model is sealed: the benchmarks of `lm_eval_tasks`. Nothing here can cost the model."""

from __future__ import annotations

import gc
import json
from pathlib import Path
from typing import Any

from runtime.checkpoint.manifest import read_manifest
from runtime.config.problem import ExitCode
from runtime.publish.benchmark import FILE, require_benchmark, run_benchmark, subject, write_benchmark
from runtime.record import write_atomic
from runtime.training.job import Job
from runtime.training.stop import StopNow

# A benchmark that kills its process, for want of memory say, would otherwise keep a finished run from ever ending.
_TRIES = 2


def wants_benchmark(config: Any) -> bool:
    """Whether benchmarks follow the training: tasks are named, and `lm_eval_post_train` is not false."""
    return bool(config.lm_eval_tasks) and config.lm_eval_post_train is not False


def refuse_benchmark(config: Any) -> None:
    """Raise UserError, before anything is trained, when the benchmarks that are to follow cannot be run here."""
    if wants_benchmark(config):
        require_benchmark(config)


def benchmark_after_training(job: Job) -> ExitCode:
    """Run the benchmarks and record what came out: INTERRUPTED when a stop request ended them, which a resumed run takes up again, else OK.

    A failure is an event and a warning, not an error: the model is sealed and good. Only the main process works here.
    """
    if not job.rank.is_main or not wants_benchmark(job.config):
        return ExitCode.OK
    final, target = job.folder.final, job.folder.path / FILE
    step, of = read_manifest(final).step, subject(job.config, final)
    before = _read(target)
    if before.get("of") == of and before.get("state") == "done":
        return ExitCode.OK
    tries = int(before.get("tries", 0)) + 1 if before.get("of") == of else 1
    if tries > _TRIES:
        job.progress.say(f"warning: the benchmark ended with its process {_TRIES} times and is left out; `evaluate` runs it by itself")
        return ExitCode.OK
    write_atomic(target, json.dumps({"state": "begun", "of": of, "tries": tries}).encode() + b"\n")
    job.emit("stage", step, name="benchmark")
    job.progress.say(f"benchmark: {', '.join(job.config.lm_eval_tasks)}")
    _free_memory()
    try:
        job.stop.deferred = False
        if job.stop.requested:
            raise StopNow
        benchmark = run_benchmark(job.config, final)
    except StopNow:
        # Asked to stop is not failed: it does not count as a try.
        target.unlink(missing_ok=True)
        job.emit("stopped", step)
        job.progress.say("stopped in the benchmark; the model is sealed")
        return ExitCode.INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the harness runs code of many authors on data from the network
        said = (str(error).strip().splitlines() or [""])[0]
        target.unlink(missing_ok=True)
        job.emit("benchmark_failed", step, message=f"{type(error).__name__}: {said}")
        job.progress.say(f"warning: the benchmark failed, the model is sealed: {type(error).__name__}: {said}")
        return ExitCode.OK
    finally:
        job.stop.deferred = True
    write_benchmark(benchmark, job.config, final, target)
    job.emit("benchmark", step, model=benchmark.model, scores=benchmark.scores, path=str(target))
    job.progress.say(f"benchmark: {benchmark.sentence()}")
    return ExitCode.OK


def _free_memory() -> None:
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _read(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
