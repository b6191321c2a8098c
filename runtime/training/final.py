"""The trained model: weights or adapter, tokenizer, card and config, sealed as `final`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from runtime.checkpoint.manifest import is_sealed, read_manifest, verify
from runtime.model.adapter import save_adapter
from runtime.model.origin import write_origin
from runtime.publish.card import Facts, write_card
from runtime.training.job import Job

if TYPE_CHECKING:
    from runtime.training.assemble import Learner
    from runtime.training.trainer import RunTrainer


def final_is_there(job: Job, *, step: int, config_hash: str) -> bool:
    """Whether the final model of this very training is sealed already, every byte of it as it was sealed. The same answer on all processes."""
    return bool(job.rank.share(job.rank.is_main and _is_there(job.folder.final, step, config_hash)))


def write_final(job: Job, trainer: RunTrainer, learner: Learner, facts: Facts) -> None:
    """Seal the present weights of `trainer` as the run's final model."""

    def write(folder: Path) -> None:
        trainer.save_final(folder)
        if not job.rank.is_main:
            return
        if learner.initial is not None:
            save_adapter(trainer.accelerator.unwrap_model(trainer.model), folder, initial=learner.initial)
        write_origin(learner.origin, folder)
        write_card(folder, facts, merged=trainer.session.relora is not None)

    trainer.session.saver.save_final(facts.steps, write)


def _is_there(final: Path, step: int, config_hash: str) -> bool:
    if not is_sealed(final):
        return False
    manifest = read_manifest(final)
    same = (manifest.step, manifest.config_hash) == (step, config_hash)
    return same and all(problem.code == "extra-file" for problem in verify(final, manifest))
