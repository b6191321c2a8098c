"""Options of checkpoints: when they are written, kept and resumed from."""

from typing import Any, Literal

from pydantic import Field

from runtime.config.section import Section


class DynamicCheckpoint(Section):
    """A checkpoint on demand."""

    enabled: bool = Field(False, description="Watch for the request: the file, or the signal SIGUSR1 to a training process.")
    check_interval: int = Field(10, ge=1, description="Steps between looks for the request; the checkpoint is that of the step that looks.")
    trigger_file_path: str = Field(
        "axolotl_checkpoint.save",
        description="Name of the file in `output_dir` whose appearance asks for a checkpoint; removed once it is sealed. A name, not a path.",
    )


class CheckpointOptions:
    """When the run saves itself and what it goes on from."""

    output_dir: str = Field("./model-out", description="Folder of the run: checkpoints, events, the final model.")
    resume_from_checkpoint: str | None = Field(
        None, description="Checkpoint folder to go on from. It must be sealed; a broken one is an error, not a fresh start."
    )
    auto_resume_from_checkpoints: bool | None = Field(
        None, description="Go on from the newest sealed checkpoint in `output_dir`, if there is one."
    )
    save_strategy: Literal["no", "steps", "epoch", "best"] | None = Field(
        None,
        description="`no`, every `epoch`, every so many `steps`, or when the evaluation is the `best` so far. Default: from `save_steps`.",
    )
    save_steps: int | float | None = Field(
        None,
        gt=0,
        description="Steps between checkpoints; below 1, a share of all steps. Default: one an epoch, or by the clock where the run can be preempted or has a store (`launch.preemption_h`).",
    )
    saves_per_epoch: int | None = Field(None, ge=0, description="Checkpoints in each epoch; 0 for none. Not together with `save_steps`.")
    save_total_limit: int | None = Field(
        None, ge=1, description="Checkpoints kept; older ones are deleted once a newer one is sealed. Default: all."
    )
    save_first_step: bool | None = Field(None, description="Also save after the first step, to see early that saving works.")
    save_only_model: bool | None = Field(
        False, description="Save weights without optimizer and schedule: small, but such a run cannot resume."
    )
    save_safetensors: bool | None = Field(True, description="Weights as safetensors. There is no other format here, so only true works.")
    dynamic_checkpoint: DynamicCheckpoint | None = Field(
        None, description="A checkpoint on demand, by creating a file; beside those of `save_steps`."
    )
    export: dict[str, Any] | None = Field(None, description="Export of the final model to another format.")
