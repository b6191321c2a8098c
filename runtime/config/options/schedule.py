"""Options of the learning-rate schedule."""

from typing import Any

from pydantic import Field


class ScheduleOptions:
    """How the learning rate moves over the run."""

    lr_scheduler: str | None = Field(
        "cosine",
        description="Shape of the schedule, by transformers' name, or `rex` (stays high for long, then falls fast), `one_cycle` (up until the end of the warm-up, then down; the momentum stays as it is) or `log_sweep` (rises from 1e-10 to 10 over the warm-up or, without `warmup_steps`, over all steps, to find a learning rate by). `cosine` falls from the peak to zero along a half wave.",
    )
    lr_scheduler_kwargs: dict[str, Any] | None = Field(
        None,
        description="Further arguments of the schedule, such as `num_cycles`; `pct_start`, `final_div_factor` and `anneal_strategy` (cos or linear) of one_cycle, `min_lr` and `max_lr` of log_sweep.",
    )
    warmup_steps: int | None = Field(
        None,
        ge=0,
        description="Steps in which the learning rate rises from zero to its peak. Not together with `warmup_ratio`. Default: 3 % of the steps, 100 at most.",
    )
    warmup_ratio: float | None = Field(None, ge=0, le=1, description="The same as a share of all steps. Not together with `warmup_steps`.")
    cosine_min_lr_ratio: float | None = Field(
        None, ge=0, le=1, description="Cosine and rex: end at this share of the peak instead of at zero."
    )
    cosine_constant_lr_ratio: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Cosine: reach the lowest rate, `cosine_min_lr_ratio` of the peak, at this share of all steps and stay there.",
    )
    lr_quadratic_warmup: bool | None = Field(
        None, description="Rise along a parabola instead of a line, for schedules that warm up; gentler at first."
    )
    lr_div_factor: float | None = Field(None, gt=0, description="one_cycle: the peak divided by the first learning rate. Default: 25.")
    jagged_restart_steps: int | None = Field(
        None,
        ge=1,
        description="Restart every so many steps: the rate falls to a thousandth of the schedule's and rises again to it, as the two lengths below say. With ReLoRA, also the length of one adapter's life.",
    )
    jagged_restart_warmup_steps: int | None = Field(
        None, ge=0, description="Steps in which the rate rises back to the schedule's after each restart. Default: 0, which is none."
    )
    jagged_restart_anneal_steps: int | None = Field(
        None, ge=0, description="Steps over which the rate falls before each restart. Default: 0, which is none."
    )
