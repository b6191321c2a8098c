"""One training run, from a checked config to a sealed model."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime.checkpoint.disk import explained
from runtime.checkpoint.staging import sweep_staging
from runtime.config.beat import preemption_hours
from runtime.config.load import config_hash, dump_yaml
from runtime.config.problem import ExitCode, Problem, UserError
from runtime.config.wishes import fsdp_option
from runtime.events import EventLog
from runtime.plugins.hooks import hooks_of
from runtime.publish.card import Facts
from runtime.training.bringing import bring_start, bring_whole
from runtime.training.cadence import Cadence, cadence_of
from runtime.training.company import meet
from runtime.training.failure import explain, lost
from runtime.training.folder import RunFolder, claimed, write_config
from runtime.training.job import Job, Surroundings
from runtime.training.joining import join, ready_libraries
from runtime.training.preemption.watching import watching
from runtime.training.processes import Rank, read_verdict, write_verdict
from runtime.training.progress import Progress, duration
from runtime.training.pushes import await_copies, copying, open_repository, push_data, push_final
from runtime.training.rescale import made_by, rescaled, sentence
from runtime.training.resume import Start, find_start
from runtime.training.saving import Saver
from runtime.training.stop import StopNow, StopRequest
from runtime.training.stores import FINAL_WAIT_S, STOP_WAIT_S, await_sent, reach_store, require_sent, sending

if TYPE_CHECKING:
    from runtime.data.prepare import Prepared
    from runtime.training.assemble import Learner
    from runtime.training.trainer import RunTrainer


def train(config: Any, surroundings: Surroundings, stop: StopRequest) -> ExitCode:
    """Train as `config` says and seal the model: OK, or INTERRUPTED when a stop request ended it at a sealed checkpoint.

    Every training process of the run calls this. Raises UserError for everything else that ends a run early.
    """
    rank = Rank.from_environment(dict(os.environ))
    folder = RunFolder(path=Path(config.output_dir).expanduser())
    progress = Progress(speaks=rank.is_main)
    with ExitStack() as stack:
        try:
            join(config, surroundings, rank, progress)
            events = rank.together((lambda: _opened(stack, folder, surroundings.run)) if rank.is_main else None)
        except Exception as error:
            failure = explain(error, output_dir=folder.path)
            _tell_parent(surroundings, rank, failure.exit_code, failure.problems)
            if failure is error or surroundings.debug:
                raise
            raise failure from error
        job = Job(
            config=config,
            surroundings=surroundings,
            rank=rank,
            folder=folder,
            progress=progress,
            events=events,
            stop=stop,
            ends=stack,
        )
        stack.callback(job.progress.end)
        try:
            code, problems = _outcome(job)
            _tell_parent(surroundings, rank, code, problems)
        finally:
            for vigil in job.vigils:
                vigil.end()
    if problems:
        raise UserError(problems, exit_code=code)
    return code


def _opened(stack: ExitStack, folder: RunFolder, run: str | None) -> EventLog:
    """The log in the run's folder, which is this process's from now on."""
    stack.enter_context(claimed(folder, run=run))
    with explained(folder.path):
        return EventLog(folder.events)


def _tell_parent(surroundings: Surroundings, rank: Rank, code: ExitCode, problems: Sequence[Problem]) -> None:
    if surroundings.verdict is not None and (rank.local == 0 or problems):
        write_verdict(surroundings.verdict, int(code), problems)


def _outcome(job: Job) -> tuple[ExitCode, tuple[Problem, ...]]:
    job.emit("started", attempt=job.surroundings.attempt, world_size=job.rank.world_size)
    from runtime.training.telemetry import serving_metrics

    try:
        with watching(job), serving_metrics(job):
            code = _train(job)
            for vigil in job.vigils:
                vigil.check()
            return (_benchmark(job) if code == ExitCode.OK else code), ()
    except StopNow:
        leaves = job.stop.notice is not None and job.stop.notice.kind == "preempt"
        _tell_others(job, lost("another machine of this run") if leaves else UserError((), exit_code=ExitCode.INTERRUPTED))
        if job.stop.notice is not None and job.stop.notice.kind == "preempt":
            left = job.stop.notice.left_s(time.time())
            job.emit("preempted", deadline_s=None if left is None else round(left, 3), reason=job.stop.notice.reason, saves="keep")
        job.progress.say("stopped before training began")
        job.emit("stopped")
        return ExitCode.INTERRUPTED, ()
    except Exception as error:
        failure = _tell_others(job, _first_failure(job) or explain(error, output_dir=job.folder.path))
        if job.surroundings.debug and not isinstance(error, UserError):
            raise
        with suppress(OSError):
            if failure.problems:
                job.emit("failed", message="; ".join(_sentence(problem) for problem in failure.problems), fix=failure.problems[0].fix)
            else:
                job.progress.say("stopped, as another machine of this run was told to stop")
                job.emit("stopped")
        return failure.exit_code, failure.problems


def _tell_others(job: Job, failure: UserError) -> UserError:
    """Why the run ends, which another machine may have told of before this process met the consequences."""
    for vigil in job.vigils:
        failure = vigil.tell(failure)
    return failure


def _sentence(problem: Problem) -> str:
    return f"{problem.where}: {problem.message}" if problem.where else problem.message


def _first_failure(job: Job) -> UserError | None:
    """What another process of the run left as its reason: what this one met then is only the other's absence."""
    said = read_verdict(job.surroundings.verdict) if job.surroundings.verdict is not None else None
    return UserError(said[1], exit_code=ExitCode(said[0])) if said is not None and said[1] else None


def _train(job: Job) -> ExitCode:
    began = time.monotonic()
    config, rank, folder = job.config, job.rank, job.folder
    if rank.world_size == 1:
        ready_libraries(config, job.surroundings, job.progress)
    import torch

    from runtime.model.liger import require_liger
    from runtime.model.precision import machine_precision
    from runtime.training.arguments import tracker_environment
    from runtime.training.assemble import assemble, load_learner
    from runtime.training.final import final_is_there
    from runtime.training.losses.choice import loss_of
    from runtime.training.machine import fit_for, this_machine, together
    from runtime.training.optimizers.packages import require_package
    from runtime.training.probe import kept_cadence
    from runtime.training.sharding.settings import sharding_of
    from runtime.training.swanlab import require_swanlab
    from runtime.training.targeting import keep_layers, target_layers
    from runtime.training.watchers import refuse_unready

    hooks = hooks_of(config)
    cuda = torch.cuda.is_available()
    machine = this_machine(rank)
    job.emit("machine", gpu=machine.gpu, processes=rank.world_size, cores=_cores())
    # Everything that cannot work here is said at once, before the data are prepared.
    rank.together(
        lambda: together(
            lambda: [job.progress.say(line) for line in fit_for(config, machine)],
            lambda: require_package(config, cuda=cuda),
            lambda: require_liger(config, cuda=cuda),
            lambda: require_swanlab(config, environment=os.environ, home=Path.home()),
            lambda: loss_of(config),
            lambda: sharding_of(config, world_size=rank.world_size),
            lambda: refuse_unready(config, main=rank.is_main),
        )
    )
    repository = rank.together(lambda: open_repository(job))
    os.environ.update(tracker_environment(config))
    sharding = sharding_of(config, world_size=rank.world_size)
    if sharding is None and not cuda and fsdp_option(config) is not None:
        # On a GPU the rules about machines say so.
        job.progress.say("one process has nobody to share its training state with: it trains without FSDP")
    company = meet(job)
    rank.together((lambda: _begin_folder(job)) if rank.is_main else None)

    from runtime.model.tokenizer import load_tokenizer

    job.emit("stage", name="data")
    tokenizer = rank.together(lambda: load_tokenizer(config))
    prepared = _prepare(job, tokenizer)
    evaluates = prepared.validation is not None and len(prepared.validation) > 0
    timed_saves = preemption_hours(config, job.surroundings.notices) is not None

    hashed = config_hash(config)
    store = reach_store(job, company)
    start: Start = rank.led(
        lambda: find_start(
            config,
            folder,
            supervised=job.surroundings.run is not None,
            stores=[store] if store else [],
            config_hash=hashed,
            say=job.progress.say,
        )
    )
    start = bring_start(start, job, company, store)
    rows = len(prepared.train)
    made = made_by(start.checkpoint, config, rows=rows)
    counted_for = rank.world_size if made is None else made.counted_for
    cadence = cadence_of(config, rows=rows, world_size=counted_for, evaluates=evaluates, timed_saves=timed_saves)
    cadence = rescaled(cadence, made, rows=rows, world_size=rank.world_size, drop_last=bool(config.dataloader_drop_last))
    if line := sentence(made, cadence, world_size=rank.world_size):
        job.progress.say(line)
    cadence = kept_cadence(config, cadence, start.checkpoint, rows=len(prepared.train), world_size=rank.world_size)
    for warning in start.warnings:
        job.progress.say(f"warning: {warning}")
    if start.checkpoint is None and start.skipped:
        job.progress.say("; ".join(["starting over: no sealed checkpoint is whole", *start.skipped]))

    job.emit("stage", name="model")
    precision = machine_precision(config)
    learner = load_learner(
        config, tokenizer, precision=precision, device=f"cuda:{rank.local}" if cuda else "cpu", sharding=sharding, rank=rank
    )
    targeted = target_layers(job, learner.model, tokenizer, precision=precision, checkpoint=start.checkpoint)
    with sending(job, store, company) as uploader, copying(job, None if company.disk.apart else repository) as copies:
        saver = Saver(
            folder=folder,
            rank=rank,
            config_text=dump_yaml(config),
            config_hash=hashed,
            emit=job.emit,
            run=company.run,
            attempt=company.attempt,
            limit=config.save_total_limit,
            every=config.launch.keep_every_steps,
            disk=company.disk,
            uploader=uploader,
            copies=copies,
            say=job.progress.say,
        )
        if job.events is not None:
            job.events.listeners.append(saver.pace.hear)
        if uploader is not None and start.checkpoint is not None and not company.disk.apart:
            # It may have been sealed here a moment before the last death, and not sent; what the store already has is not sent again.
            uploader.submit(start.checkpoint)
        if copies is not None and start.checkpoint is not None:
            copies.submit(start.checkpoint)
        trainer = assemble(
            job,
            learner,
            tokenizer,
            prepared,
            cadence,
            precision=precision,
            saver=saver,
            cuda=cuda,
            fresh=start.checkpoint is None,
            sharding=sharding,
        )
        if targeted is not None:
            trainer.session.keeps.append(keep_layers(targeted))
        trained_before = _go(job, trainer, cadence, start)
        if trainer.session.stopped is not None:
            step = trainer.state.global_step
            left = trainer.session.stopped.left_s(saver.now())
            # What has not reached the store is still sealed on one machine's disk, and lost on several.
            unhurried_s = FINAL_WAIT_S if company.disk.apart else STOP_WAIT_S
            patience_s = unhurried_s if left is None else max(0.0, left - 2.0)
            await_sent(job, uploader, patience_s=patience_s)
            # What is left of a notice belongs to the store, which a resume depends on.
            await_copies(job, copies, patience_s=patience_s if left is None else 0.0)
            if trainer.session.reaper is not None:
                trainer.session.reaper.cancel()
            job.emit("stopped", step)
            job.progress.say(f"stopped at step {step} of {cadence.total_steps}; the run goes on from its newest sealed checkpoint")
            return ExitCode.INTERRUPTED
        if trained_before and final_is_there(job, step=trainer.state.global_step, config_hash=hashed):
            saver.send_final()
        else:
            _finish(job, trainer, learner, cadence, prepared, bring=lambda step: bring_whole(step, job, company, store, uploader))
        hooks.tell("post_train", learner.model)
        _tell_trained(job, trainer, seconds=time.monotonic() - began)
        require_sent(job, uploader)
        await_copies(job, copies, patience_s=STOP_WAIT_S)
    push_final(job)
    if hooks.has("post_train_unload"):
        del trainer, learner, saver
        gc.collect()
        hooks.tell("post_train_unload")
    return ExitCode.OK


def _go(job: Job, trainer: RunTrainer, cadence: Cadence, start: Start) -> bool:
    """Train from `start` to the end or to a stop. Returns True when there was nothing to train: the checkpoint is the end already."""
    from runtime.training.trainer import EvaluationStopped

    session = trainer.session
    if start.checkpoint is not None:
        session.load(start.checkpoint)
        job.emit("resumed", start.step, from_step=start.step, path=str(start.checkpoint), reason=start.reason, skipped=list(start.skipped))
        job.progress.say(start.reason)
    job.emit("plan", start.step, steps=cadence.total_steps, epochs=round(cadence.epochs, 6))
    job.emit("stage", start.step, name="train", done=start.step, total=cadence.total_steps)
    if start.checkpoint is not None and (start.step >= cadence.total_steps or session.ended):
        job.stop.deferred = True
        trainer.take_up(start.checkpoint)
        return True
    job.progress.say(
        f"training {cadence.total_steps:,} steps ({cadence.epochs:.3g} epochs)" + (f" from step {start.step:,}" if start.step else "")
    )
    job.progress.begin(start.step, cadence.total_steps)
    try:
        trainer.train(resume_from_checkpoint=str(start.checkpoint) if start.checkpoint else None)
    except EvaluationStopped:
        raise StopNow from None
    finally:
        # Where training failed, that is the news; the checkpoint before is sealed all the same.
        with suppress(UserError):
            session.saver.settle()
    job.progress.end()
    return False


def _finish(job: Job, trainer: RunTrainer, learner: Learner, cadence: Cadence, prepared: Prepared, *, bring: Callable[[int], bool]) -> None:
    """Seal the final model; `bring` says whether the checkpoint of a step is here, and on all machines, after it was looked for elsewhere."""
    from runtime.training.final import write_final

    session, step = trainer.session, trainer.state.global_step
    best = trainer.state.best_global_step
    if session.load_best and best is not None and best != step:
        if bring(best):
            trainer.load_weights(job.folder.checkpoint(best))
            job.progress.say(f"the model of step {best} evaluated best and becomes the final one")
        else:
            job.progress.say(f"warning: step {best} evaluated best, but its checkpoint is not here; the last step becomes the final model")
    facts = Facts.of(
        job.config,
        run=job.run,
        steps=step,
        epochs=cadence.epochs,
        final_loss=session.final_loss,
        eval_loss=session.eval_loss,
        rows=len(prepared.train),
    )
    write_final(job, trainer, learner, facts)


def _cores() -> int:
    """Processors this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _benchmark(job: Job) -> ExitCode:
    """What `lm_eval_tasks` asks for, once the training has left the memory."""
    from runtime.training.aftermath import benchmark_after_training

    return benchmark_after_training(job)


def _tell_trained(job: Job, trainer: RunTrainer, *, seconds: float) -> None:
    step, loss = trainer.state.global_step, trainer.session.final_loss
    job.emit("trained", step, steps=step, final_loss=loss, seconds=round(seconds, 3))
    job.progress.say(f"trained {step:,} steps in {duration(seconds)}; the model is in {job.folder.final}")


def _prepare(job: Job, tokenizer: Any) -> Prepared:
    from runtime.data.prepare import prepare

    def tell(stage: str, done: int, total: int) -> None:
        job.emit("stage", name="data", part=stage, done=done, total=total)

    # The first process fills the cache, the others read it.
    prepared = _main_first(job.rank, lambda: prepare(job.config, tokenizer, progress=tell))
    report = asdict(prepared.report)
    for warning in report.pop("warnings"):
        job.progress.say(f"warning: {warning['where']}: {warning['message']}")
    job.emit("prepared", **report)
    push_data(job, prepared)
    if job.config.debug:
        from runtime.data.preview import first_sample, token_lines

        row = prepared.train[0]
        job.progress.say("the first sample: token, label, text")
        for line in token_lines(tokenizer, *first_sample(row["input_ids"], row["labels"], row["position_ids"])):
            job.progress.say(line)
    return prepared


def _main_first(rank: Rank, work: Callable[[], Any]) -> Any:
    first = rank.together(work if rank.is_main else None)
    later = rank.together(None if rank.is_main else work)
    return first if rank.is_main else later


def _begin_folder(job: Job) -> None:
    with explained(job.folder.path):
        write_config(job.folder, dump_yaml(job.config))
        sweep_staging(job.folder.path)
        sweep_staging(job.folder.checkpoints)
