"""Rules about numbers of a recipe that must suit the number of processes, or the model."""

from __future__ import annotations

from collections.abc import Iterator

from runtime.config.environment.finding import found
from runtime.config.environment.machine import Machine
from runtime.config.finding import Finding
from runtime.config.schema import TrainingConfig

_LARGE_MODEL = 3_000_000_000
"""Parameters from which a full fine-tuning rate above `_LARGE_RATE` forgets more than it teaches; published recipes of such models stay at or below
1e-4, those of small ones go to 1e-3."""
_LARGE_RATE = 1e-4
_SCALED = ("rope_scaling", "rope_parameters", "max_position_embeddings")


def groups_fill_batches(config: TrainingConfig, machine: Machine) -> Iterator[Finding]:
    """The answers to one prompt are judged together, so a batch of all processes holds whole groups."""
    if config.rl not in ("grpo", "gdpo") or config.trl is None or config.trl.num_generations is None:
        return
    number = config.trl.num_generations
    micro = config.micro_batch_size or 1
    accumulation = max(1, config.batch_size // micro) if config.batch_size else config.gradient_accumulation_steps or 1
    rows = config.trl.generation_batch_size or micro * accumulation * machine.world_size
    if rows % number:
        message = f"trl.num_generations ({number}) must divide the {rows} answers of a step on {machine.world_size} processes"
        yield found(("trl", "num_generations"), message, "Change it, micro_batch_size or gradient_accumulation_steps.")


def generation_fills_processes(config: TrainingConfig, machine: Machine) -> Iterator[Finding]:
    """A batch of generation is dealt out over the processes in whole micro batches."""
    if config.rl in ("grpo", "gdpo") and config.trl is not None and config.trl.generation_batch_size:
        once = (config.micro_batch_size or 1) * machine.world_size
        if config.trl.generation_batch_size % once:
            message = f"trl.generation_batch_size ({config.trl.generation_batch_size}) must be a multiple of micro_batch_size × {machine.world_size} processes ({once})"
            yield found(("trl", "generation_batch_size"), message, f"Write {once}, or a multiple of it.")


def split_batches_divide(config: TrainingConfig, machine: Machine) -> Iterator[Finding]:
    """A batch that accelerate splits has a part for every process."""
    micro = config.micro_batch_size or 1
    if (config.accelerator_config or {}).get("split_batches") and micro % machine.world_size:
        message = f"`split_batches` deals each micro batch out over the processes: micro_batch_size ({micro}) must be a multiple of {machine.world_size}"
        yield found("accelerator_config", message, "Change micro_batch_size, or leave split_batches out.")


def rows_fit_the_context(config: TrainingConfig, machine: Machine) -> Iterator[Finding]:
    """A model has learnt positions up to its context."""
    context = machine.model.context if machine.model is not None else None
    scaled = any(key in (config.overrides_of_model_config or {}) for key in _SCALED)
    if context and config.sequence_len > context and not scaled and not config.rope_scaling and not config.use_pose:
        message = f"sequence_len ({config.sequence_len}) is above the {context} positions this model knows"
        yield found("sequence_len", message, "Lower it, or scale the positions under `overrides_of_model_config`.", warning=True)


def rate_suits_a_large_model(config: TrainingConfig, machine: Machine) -> Iterator[Finding]:
    """A rate that is usual for LoRA ruins the weights of a large model."""
    parameters = machine.model.parameters if machine.model is not None else None
    gentle = config.adapter or config.reinit_weights or config.unfrozen_parameters or config.pretraining_dataset
    adam = str(config.optimizer or "adamw").startswith(("adamw", "paged_adamw", "stable_adamw"))
    if parameters and parameters >= _LARGE_MODEL and config.learning_rate > _LARGE_RATE and adam and not gentle:
        message = (
            f"learning_rate {config.learning_rate:g} trains all {parameters / 1e9:.1f} billion weights: usual for LoRA, far too high here"
        )
        yield found("learning_rate", message, "1e-5 to 2e-5 is usual for full fine-tuning.", warning=True)


RULES = (groups_fill_batches, generation_fills_processes, split_batches_divide, rows_fit_the_context, rate_suits_a_large_model)
