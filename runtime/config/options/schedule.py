"""Options of the learning-rate schedule."""

from typing import Any

from pydantic import Field


class ScheduleOptions:
    """How the learning rate moves over the run."""

    lr_scheduler: str | None = Field(
        "cosine",
        description="Shape of the schedule, by transformers' name, or `one_cycle` or `rex`. `cosine` falls from the peak to zero along a half wave.",
    )
    lr_scheduler_kwargs: dict[str, Any] | None = Field(None, description="Further arguments of the schedule, such as `num_cycles`.")
    warmup_steps: int | None = Field(
        None,
        ge=0,
        description="Steps in which the learning rate rises from zero to its peak. Not together with `warmup_ratio`. Default: 3 % of the steps, 100 at most.",
    )
    warmup_ratio: float | None = Field(None, ge=0, le=1, description="The same as a share of all steps. Not together with `warmup_steps`.")
    cosine_min_lr_ratio: float | None = Field(None, ge=0, le=1, description="Cosine: end at this share of the peak instead of at zero.")
    cosine_constant_lr_ratio: float | None = Field(
        None, ge=0, le=1, description="Cosine: reach the lowest rate at this share of all steps and stay there."
    )
    lr_quadratic_warmup: bool | None = Field(None, description="Rise along a parabola instead of a line.")
    lr_div_factor: float | None = Field(None, gt=0, description="one_cycle: the peak divided by the first learning rate.")
    jagged_restart_steps: int | None = Field(
        None, ge=1, description="Restart the schedule every so many steps; with ReLoRA, the length of one adapter's life."
    )
    jagged_restart_warmup_steps: int | None = Field(None, ge=0, description="Steps of warm-up after each restart.")
    jagged_restart_anneal_steps: int | None = Field(None, ge=0, description="Steps over which the rate falls before each restart.")
