"""The `launch:` section: what a recipe says beyond training, about the machine, the budget and what happens after."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from runtime.config.section import Section


class PublishSection(Section):
    """What happens to a trained model."""

    merge: bool = Field(
        default=True,
        description="Merge a trained adapter into its 16- or 32-bit base after training, into `final/merged`. Ignored by full fine-tuning, which has no adapter.",
    )
    verify: bool = Field(
        default=True,
        description="Load the published files again and generate a few tokens before the run counts as verified (exit 7 otherwise).",
    )


class RecoverySection(Section):
    """When a dead training process is started again."""

    max_restarts_without_progress: int = Field(
        default=10,
        ge=0,
        description="Give up after this many deaths in a row by a signal (a kill, the memory killer, a preemption) with no newer sealed checkpoint between them. An error raised by the training code itself is never retried.",
    )
    grace_s: float = Field(
        default=120.0,
        gt=0,
        description="Seconds a training process gets to reach a step boundary and seal after a stop request, before it is killed.",
    )


class LaunchConfig(Section):
    """The recipe's own section; every key has a command-line flag that wins over it."""

    name: str | None = Field(
        default=None,
        pattern=r"^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$",
        description="Name of the run; a random readable one when unset. Lower-case letters, digits and dashes.",
    )
    cloud: str | None = Field(default=None, description="Where to run: `local` is this machine; a SkyPilot cloud name otherwise.")
    region: str | None = Field(default=None, description="Region of that cloud; any when unset.")
    gpus: str | list[str] | None = Field(
        default=None,
        description="GPU kind and count in SkyPilot's names, `A100-80GB:8`; a list means any of them. Unset on this machine: whatever it has.",
    )
    nodes: int = Field(default=1, ge=1, description="Number of machines of that kind.")
    processes: int | None = Field(
        default=None, ge=1, description="Training processes on this machine. Default: one for each GPU, one on a CPU."
    )
    spot: bool | None = Field(
        default=None, description="Take interruptible machines. Unset: decided by expected cost where the cloud offers both."
    )
    image: str | None = Field(default=None, description="Container image of the runtime; the project's own prepared image when unset.")
    storage: str | None = Field(
        default=None,
        description="Where sealed checkpoints and the final model go: a folder or `file:///…`, later `s3://…`, `gs://…`, `az://…`. Unset on this machine: they stay in the output folder alone.",
    )
    max_cost_usd: float | None = Field(default=None, gt=0, description="The run is stopped at a sealed checkpoint before it costs more.")
    max_hours: float | None = Field(
        default=None, gt=0, description="The run is stopped at a sealed checkpoint after this many hours of wall time."
    )
    secrets: list[str] = Field(
        default_factory=list,
        description="Names of environment variables the training needs, such as HF_TOKEN. Their values are handed to the process and written nowhere.",
    )
    publish: PublishSection = Field(default_factory=PublishSection, description="What happens after training.")
    recovery: RecoverySection = Field(default_factory=RecoverySection, description="When a dead training process is started again.")
    backend: Literal["auto", "local", "sky"] = Field(
        default="auto", description="Which backend runs it; `auto` takes `local` for `cloud: local` and SkyPilot otherwise."
    )
