"""Rules about how fast a run learns: rates, schedules and what optimizers look at."""

from __future__ import annotations

from collections.abc import Iterator

from runtime.config.finding import Finding, conflict
from runtime.config.given import evaluates, given
from runtime.config.schema import TrainingConfig

# Rates outside of these train nothing or destroy something whatever the model: five times beyond anything in published recipes.
_LORA_RATES = (1e-6, 1e-2)
_FULL_RATES = (1e-8, 5e-3)
_PLAIN = ("sgd", "adagrad", "rmsprop", "adafactor", "lomo", "adalomo")
_OWN = (
    ("dion", ("dion_lr", "dion_momentum", "dion_rank_fraction", "dion_rank_multiple_of")),
    (
        "q_galore_adamw8bit",
        (
            "qgalore_rank",
            "qgalore_update_proj_gap",
            "qgalore_scale",
            "qgalore_proj_type",
            "qgalore_proj_quant",
            "qgalore_proj_bits",
            "qgalore_proj_group_size",
            "qgalore_cos_threshold",
            "qgalore_gamma_proj",
            "qgalore_queue_size",
        ),
    ),
    ("adamw_anyprecision", ("torchdistx_path",)),
    ("came_pytorch", ("adam_beta3", "adam_epsilon2")),
)


def rate_suits_method(config: TrainingConfig) -> Iterator[Finding]:
    """A rate of a size that teaches what is trained here. Preference methods go lower, training from nothing higher."""
    name = str(config.optimizer or "adamw")
    from_nothing = config.reinit_weights or config.pretraining_dataset or config.rl or config.reward_model or config.process_reward_model
    if from_nothing or "adam" not in name or config.learning_rate > 0.1:
        return
    low, high = _LORA_RATES if config.adapter else _FULL_RATES
    what = f"`adapter: {config.adapter}`" if config.adapter else "full fine-tuning"
    usual = "2e-4" if config.adapter else "1e-5 to 2e-5"
    if not low <= config.learning_rate <= high:
        message = (
            f"learning_rate {config.learning_rate:g} is far {'below' if config.learning_rate < low else 'above'} what {what} learns with"
        )
        yield Finding(
            code="out-of-range", path=("learning_rate",), involves=("adapter",), message=message, fix=f"{usual} is usual.", warning=True
        )


def schedule_watches_evaluations(config: TrainingConfig) -> Iterator[Finding]:
    """Schedules that react to the evaluation loss need one."""
    if config.lr_scheduler in ("reduce_lr_on_plateau", "greedy") and (not evaluates(config) or config.eval_strategy == "no"):
        message = f"`lr_scheduler: {config.lr_scheduler}` follows the evaluation loss, and there are no evaluations"
        yield conflict(
            "lr_scheduler", message, "Set `val_set_size`, say 0.05, or write `cosine`.", "val_set_size", "test_datasets", "eval_strategy"
        )


def warmup_is_taken(config: TrainingConfig) -> Iterator[Finding]:
    """A constant rate has no warm-up."""
    for name in ("warmup_steps", "warmup_ratio"):
        if config.lr_scheduler == "constant" and given(config, name):
            message = f"'{name}' has no effect with `lr_scheduler: constant`"
            yield conflict(name, message, "Write `lr_scheduler: constant_with_warmup`, or remove it.", "lr_scheduler", warning=True)


def floor_said_once(config: TrainingConfig) -> Iterator[Finding]:
    """The lowest rate is a number or a share of the peak, and below the peak."""
    kwargs = config.lr_scheduler_kwargs or {}
    said = [key for key in ("min_lr", "min_lr_rate") if kwargs.get(key) is not None]
    if len(said) == 2:
        yield conflict("lr_scheduler_kwargs", "'min_lr' and 'min_lr_rate' both say the lowest rate", "Keep one of them.")
    if said and config.cosine_min_lr_ratio is not None:
        message = f"'cosine_min_lr_ratio' and `lr_scheduler_kwargs: {{{said[0]}: …}}` both say the lowest rate"
        yield conflict("cosine_min_lr_ratio", message, "Keep one of them.", "lr_scheduler_kwargs")
    for key in ("min_lr", "lr_end"):
        lowest = kwargs.get(key)
        if isinstance(lowest, int | float) and lowest > config.learning_rate:
            message = f"lr_scheduler_kwargs.{key} ({lowest:g}) is above learning_rate ({config.learning_rate:g}), from which it falls"
            yield conflict("lr_scheduler_kwargs", message, "Lower it.", "learning_rate")


def schedule_free_is_constant(config: TrainingConfig) -> Iterator[Finding]:
    """Schedule-free optimizers average instead of lowering the rate."""
    if str(config.optimizer or "").startswith("schedule_free") and config.lr_scheduler not in ("constant", "constant_with_warmup"):
        message = (
            f"the optimizer '{config.optimizer}' averages its weights in place of a schedule, and lr_scheduler is '{config.lr_scheduler}'"
        )
        yield conflict("optimizer", message, "Write `lr_scheduler: constant_with_warmup`.", "lr_scheduler", warning=True)


def adam_settings_used(config: TrainingConfig) -> Iterator[Finding]:
    """Optimizers without a memory of gradients look at no betas."""
    name = str(config.optimizer or "")
    for option in ("adam_beta1", "adam_beta2", "adam_epsilon"):
        if name.startswith(_PLAIN) and given(config, option):
            yield conflict(option, f"'{option}' has no effect with the optimizer '{name}'", "Remove it.", "optimizer", warning=True)


def optimizer_settings_used(config: TrainingConfig) -> Iterator[Finding]:
    """Settings of one optimizer stand beside it."""
    for optimizer, names in _OWN:
        for name in names:
            if config.optimizer != optimizer and given(config, name):
                message = f"'{name}' has no effect: optimizer is '{config.optimizer}'"
                yield conflict(name, message, f"Write `optimizer: {optimizer}`, or remove it.", "optimizer", warning=True)


def decay_leaves_weights(config: TrainingConfig) -> Iterator[Finding]:
    """A decay of a size that leaves something of the weights; published recipes go to 0.3."""
    if (config.weight_decay or 0) > 1:
        message = f"weight_decay {config.weight_decay:g} pulls every weight towards zero faster than it learns"
        yield Finding(code="out-of-range", path=("weight_decay",), message=message, fix="0 to 0.1 is usual.", warning=True)


RULES = (
    rate_suits_method,
    decay_leaves_weights,
    schedule_watches_evaluations,
    warmup_is_taken,
    floor_said_once,
    schedule_free_is_constant,
    adam_settings_used,
    optimizer_settings_used,
)
