"""Rules about the optimizer and the schedule."""

from __future__ import annotations

from collections.abc import Iterator

from runtime.config.finding import Finding
from runtime.config.given import given
from runtime.config.schema import TrainingConfig

_USUAL_LIMIT = 0.1  # a learning rate above this is nearly always a lost minus sign in the exponent


def learning_rate_usual(config: TrainingConfig) -> Iterator[Finding]:
    """A learning rate of a size that trains."""
    if config.learning_rate > _USUAL_LIMIT:
        message = f"learning_rate is {config.learning_rate:g}, far above what trains a language model"
        yield Finding(
            code="out-of-range",
            path=("learning_rate",),
            message=message,
            fix="2e-4 is usual for LoRA, 2e-5 for full fine-tuning.",
            warning=True,
        )


def projection_has_targets(config: TrainingConfig) -> Iterator[Finding]:
    """GaLore and APOLLO project the gradients of named modules, and only they do."""
    name = config.optimizer or ""
    projects = "galore" in name or "apollo" in name
    if projects and not config.optim_target_modules:
        yield Finding(
            code="missing",
            path=("optim_target_modules",),
            involves=("optimizer",),
            message=f"the optimizer '{name}' needs 'optim_target_modules'",
            fix="`all_linear` is a good start.",
        )
    if not projects and given(config, "optim_target_modules"):
        message = f"'optim_target_modules' has no effect with the optimizer '{name}'"
        yield Finding(
            code="conflict",
            path=("optim_target_modules",),
            involves=("optimizer",),
            message=message,
            fix="Remove it, or choose a galore or apollo optimizer.",
        )


def cosine_settings_used(config: TrainingConfig) -> Iterator[Finding]:
    """Settings of the cosine schedule have a cosine schedule."""
    for name in ("cosine_min_lr_ratio", "cosine_constant_lr_ratio"):
        if getattr(config, name) is not None and config.lr_scheduler not in (None, "cosine", "cosine_with_min_lr"):
            message = f"'{name}' has no effect: lr_scheduler is '{config.lr_scheduler}'"
            yield Finding(
                code="conflict",
                path=(name,),
                involves=("lr_scheduler",),
                message=message,
                fix="Write `lr_scheduler: cosine`, or remove it.",
            )
    if config.cosine_constant_lr_ratio is not None and config.cosine_min_lr_ratio is None:
        message = "'cosine_constant_lr_ratio' needs 'cosine_min_lr_ratio', the rate that is kept"
        yield Finding(
            code="missing",
            path=("cosine_min_lr_ratio",),
            involves=("cosine_constant_lr_ratio",),
            message=message,
            fix="0.1 keeps a tenth of the peak.",
        )


def min_rate_given(config: TrainingConfig) -> Iterator[Finding]:
    """transformers' cosine with a floor needs the floor."""
    kwargs = config.lr_scheduler_kwargs or {}
    if (
        config.lr_scheduler in ("cosine_with_min_lr", "cosine_warmup_with_min_lr")
        and config.cosine_min_lr_ratio is None
        and not {"min_lr", "min_lr_rate"} & set(kwargs)
    ):
        message = f"`lr_scheduler: {config.lr_scheduler}` needs to know its lowest rate"
        yield Finding(
            code="missing",
            path=("lr_scheduler_kwargs",),
            involves=("lr_scheduler", "cosine_min_lr_ratio"),
            message=message,
            fix="Add `lr_scheduler_kwargs: {min_lr_rate: 0.1}`.",
        )


def decay_given(config: TrainingConfig) -> Iterator[Finding]:
    """transformers' warmup-stable-decay needs the length of its decay."""
    if config.lr_scheduler == "warmup_stable_decay" and "num_decay_steps" not in (config.lr_scheduler_kwargs or {}):
        message = "`lr_scheduler: warmup_stable_decay` needs the length of its decay"
        yield Finding(
            code="missing",
            path=("lr_scheduler_kwargs",),
            involves=("lr_scheduler",),
            message=message,
            fix="Add `lr_scheduler_kwargs: {num_decay_steps: 100}`.",
        )


def rate_groups_differ(config: TrainingConfig) -> Iterator[Finding]:
    """Groups of learning rates have different names."""
    seen: set[str] = set()
    for index, group in enumerate(config.lr_groups or ()):
        if group.name in seen:
            yield Finding(
                code="conflict", path=("lr_groups", index, "name"), message=f"two groups are named '{group.name}'", fix="Rename one."
            )
        seen.add(group.name)


RULES = (learning_rate_usual, projection_has_targets, cosine_settings_used, min_rate_given, decay_given, rate_groups_differ)
