"""Rules about the optimizer and the schedule."""

from __future__ import annotations

from collections.abc import Iterator

from runtime.config.finding import Finding
from runtime.config.given import given
from runtime.config.schema import TrainingConfig
from runtime.config.spelling import nearest

_USUAL_LIMIT = 0.1  # a learning rate above this is nearly always a lost minus sign in the exponent


# What `lr_scheduler_kwargs` may hold: transformers' schedules (5.23, compared by a test), and those that are not.
SETTINGS: dict[str, tuple[str, ...]] = {
    "linear": (),
    "constant": (),
    "constant_with_warmup": (),
    "cosine": ("num_cycles",),
    "cosine_with_restarts": ("num_cycles",),
    "polynomial": ("lr_end", "power"),
    "inverse_sqrt": ("timescale",),
    "cosine_with_min_lr": ("num_cycles", "min_lr", "min_lr_rate"),
    "cosine_warmup_with_min_lr": ("num_cycles", "min_lr", "min_lr_rate", "warmup_lr_rate"),
    "warmup_stable_decay": ("num_decay_steps", "num_stable_steps", "warmup_type", "decay_type", "min_lr_ratio", "num_cycles"),
    "one_cycle": ("pct_start", "div_factor", "final_div_factor", "anneal_strategy"),
    "log_sweep": ("min_lr", "max_lr"),
    "rex": (),
}
_OURS = ("one_cycle", "log_sweep", "rex")


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
    for name, others in (("cosine_min_lr_ratio", ("cosine_with_min_lr", "rex")), ("cosine_constant_lr_ratio", ())):
        if getattr(config, name) is not None and config.lr_scheduler not in (None, "cosine", *others):
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


def rate_groups_possible(config: TrainingConfig) -> Iterator[Finding]:
    """GaLore, APOLLO and LOMO divide the parameters themselves."""
    name = config.optimizer or ""
    if any(part in name for part in ("galore", "apollo", "lomo")):
        for option in ("lr_groups", "embedding_lr", "embedding_lr_scale", "loraplus_lr_ratio"):
            if given(config, option):
                yield Finding(
                    code="conflict",
                    path=(option,),
                    involves=("optimizer",),
                    message=f"the optimizer '{name}' groups the parameters in its own way and knows one learning rate",
                    fix=f"Remove '{option}', or choose an AdamW.",
                )


def schedule_settings_used(config: TrainingConfig) -> Iterator[Finding]:
    """Settings of a schedule belong to the schedule that is set."""
    name = config.lr_scheduler or "cosine"
    if config.lr_div_factor is not None and name != "one_cycle":
        yield Finding(
            code="conflict",
            path=("lr_div_factor",),
            involves=("lr_scheduler",),
            message=f"'lr_div_factor' has no effect: lr_scheduler is '{name}'",
            fix="Write `lr_scheduler: one_cycle`, or remove it.",
        )
    if name == "cosine" and config.cosine_min_lr_ratio is not None:
        name = "cosine_with_min_lr"  # which is what it becomes
    known = SETTINGS.get(name)
    for setting in config.lr_scheduler_kwargs or {}:
        if known is not None and setting not in known:
            floor = name == "cosine" and setting in ("min_lr", "min_lr_rate")
            suggestion = "cosine_with_min_lr" if floor else nearest(setting, known)
            yield Finding(
                code="unknown-key",
                path=("lr_scheduler_kwargs", setting),
                involves=("lr_scheduler",),
                message=f"the schedule '{name}' has no setting '{setting}'",
                fix=f"did you mean '{suggestion}'?" if suggestion else f"It takes {', '.join(known)}." if known else "It takes none.",
                suggestion=suggestion,
                # transformers' schedules may take more in a newer version.
                warning=suggestion is None and name not in _OURS,
            )


def warmup_shaped(config: TrainingConfig) -> Iterator[Finding]:
    """A quadratic warm-up needs a schedule that warms up, a restart one that is a function of the step."""
    name = config.lr_scheduler or "cosine"
    follows = name in ("reduce_lr_on_plateau", "greedy")
    for option, refused in (
        ("lr_quadratic_warmup", follows or name in ("constant", "one_cycle", "log_sweep")),
        ("jagged_restart_steps", follows),
    ):
        if given(config, option) and refused:
            why = "its rate follows from evaluations" if follows else "it has no warm-up of this kind"
            yield Finding(
                code="conflict",
                path=(option,),
                involves=("lr_scheduler",),
                message=f"'{option}' does not work with `lr_scheduler: {name}`: {why}",
                fix="Use cosine, linear or constant_with_warmup.",
            )


def restarts_fit(config: TrainingConfig) -> Iterator[Finding]:
    """Warm-up and fall of a restart fit between two restarts."""
    every = config.jagged_restart_steps
    lengths = {name: getattr(config, name) or 0 for name in ("jagged_restart_warmup_steps", "jagged_restart_anneal_steps")}
    for name, length in lengths.items():
        if length and every is None:
            yield Finding(
                code="missing",
                path=("jagged_restart_steps",),
                involves=(name,),
                message=f"'{name}' needs 'jagged_restart_steps'",
                fix="Say after how many steps the schedule restarts.",
            )
    if every is not None and sum(lengths.values()) > every:
        warmup, anneal = lengths.values()
        yield Finding(
            code="conflict",
            path=("jagged_restart_steps",),
            involves=tuple(lengths),
            message=f"warm-up ({warmup}) and fall ({anneal}) of a restart are longer than the {every} steps between two restarts",
            fix="Shorten them, or restart less often.",
        )


def schedule_free_kept_whole(config: TrainingConfig) -> Iterator[Finding]:
    """Schedule-free optimizers train other weights than those to use, and only their state tells one from the other."""
    if (config.optimizer or "").startswith("schedule_free") and config.save_only_model:
        yield Finding(
            code="conflict",
            path=("save_only_model",),
            involves=("optimizer",),
            message=f"checkpoints of '{config.optimizer}' need the optimizer's state: the weights to use are computed from both",
            fix="Remove `save_only_model`.",
        )


RULES = (
    learning_rate_usual,
    projection_has_targets,
    cosine_settings_used,
    min_rate_given,
    decay_given,
    rate_groups_differ,
    rate_groups_possible,
    schedule_settings_used,
    warmup_shaped,
    restarts_fit,
    schedule_free_kept_whole,
)
