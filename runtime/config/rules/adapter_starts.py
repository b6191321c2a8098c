"""Rules about how an adapter starts, what it sits on, and kinds of adapters with settings of their own."""

from __future__ import annotations

from collections.abc import Iterator

from runtime.config.finding import Finding, conflict
from runtime.config.given import given
from runtime.config.schema import TrainingConfig

# Starts that take the base's weights apart.
_OF_WEIGHTS = ("pissa", "corda", "eva", "loftq", "lora_ga")
_KINDS = {"mixlora": "mixlora_", "mora": "mora"}


def start_reads_weights(config: TrainingConfig) -> Iterator[Finding]:
    """A start that takes the base's weights apart needs them as numbers."""
    start = str(config.peft_init_lora_weights or "")
    loftq = config.peft is not None and config.peft.loftq_config is not None
    if start.startswith(_OF_WEIGHTS) or loftq:
        for name in ("load_in_4bit", "load_in_8bit"):
            if given(config, name):
                option = "peft" if loftq else "peft_init_lora_weights"
                message = (
                    f"the start '{'loftq' if loftq else start}' takes the base's weights apart, and `{name}: true` holds them in few bits"
                )
                yield conflict(option, message, f"Remove '{name}', or the start.", name)


def start_is_loftq(config: TrainingConfig) -> Iterator[Finding]:
    """LoftQ's settings and another start contradict each other."""
    start = config.peft_init_lora_weights
    if config.peft is not None and config.peft.loftq_config is not None and start not in (None, "loftq"):
        message = f"'peft.loftq_config' starts the adapter with LoftQ, and 'peft_init_lora_weights' is {str(start).lower()}"
        yield conflict("peft_init_lora_weights", message, "Keep one of them.", "peft")


def orthogonal_rank_even(config: TrainingConfig) -> Iterator[Finding]:
    """The orthogonal start deals the rank out to both matrices."""
    if config.peft_init_lora_weights == "orthogonal" and config.lora_r and config.lora_r % 2:
        yield Finding(
            code="out-of-range",
            path=("lora_r",),
            involves=("peft_init_lora_weights",),
            message=f"`peft_init_lora_weights: orthogonal` needs an even lora_r, found {config.lora_r}",
            fix=f"Write {config.lora_r + 1}.",
        )


def bare_parameters_adapt_plainly(config: TrainingConfig) -> Iterator[Finding]:
    """An adapter on a bare parameter changes the weight, not what flows through it."""
    if not config.lora_target_parameters:
        return
    if config.lora_dropout:
        message = f"'lora_target_parameters' needs `lora_dropout: 0`, found {config.lora_dropout}: no input passes through a bare parameter"
        yield conflict("lora_dropout", message, "Set it to 0.", "lora_target_parameters")
    if config.peft_use_dora:
        yield conflict("peft_use_dora", "DoRA does not work on 'lora_target_parameters'", "Remove one of them.", "lora_target_parameters")


def kinds_have_their_settings(config: TrainingConfig) -> Iterator[Finding]:
    """Settings of one kind of adapter stand under that kind."""
    for kind, start in _KINDS.items():
        for name in sorted(config.model_fields_set):
            if name.startswith(start) and name in TrainingConfig.model_fields and given(config, name) and config.adapter != kind:
                message = f"'{name}' has no effect: adapter is {config.adapter or 'not set'}"
                yield conflict(name, message, f"Write `adapter: {kind}`, or remove it.", "adapter", warning=True)


def experts_chosen_exist(config: TrainingConfig) -> Iterator[Finding]:
    """A token cannot visit more experts than there are."""
    number, top = config.mixlora_num_experts, config.mixlora_top_k
    if number and top and top > number:
        message = f"mixlora_top_k ({top}) is above mixlora_num_experts ({number})"
        yield conflict("mixlora_top_k", message, "Lower it.", "mixlora_num_experts")


def partly_frozen_recomputes(config: TrainingConfig) -> Iterator[Finding]:
    """The older checkpointing loses gradients where the input of a block needs none."""
    kwargs = config.gradient_checkpointing_kwargs or {}
    for name in ("unfrozen_parameters", "spectrum_top_fraction", "lisa_n_layers"):
        if kwargs.get("use_reentrant") is True and given(config, name):
            message = f"'{name}' freezes part of the model, and `use_reentrant: true` then computes no gradients behind it"
            yield conflict("gradient_checkpointing_kwargs", message, "Write `use_reentrant: false`.", name)


def relora_schedule(config: TrainingConfig) -> Iterator[Finding]:
    """ReLoRA brings restarts of its own."""
    if config.relora and config.lr_scheduler == "one_cycle":
        yield conflict("lr_scheduler", "ReLoRA restarts the learning rate, and one_cycle rises and falls once", "Write `cosine`.", "relora")


RULES = (
    start_reads_weights,
    start_is_loftq,
    orthogonal_rank_even,
    bare_parameters_adapt_plainly,
    kinds_have_their_settings,
    experts_chosen_exist,
    partly_frozen_recomputes,
    relora_schedule,
)
