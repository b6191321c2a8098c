"""The `launch:` section: what a recipe says beyond training, about the machine, the budget and what happens after."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from runtime.config.section import Section

# What a shell takes as the name of a variable.
SecretName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


# SkyPilot gives the reference to a shell as it is.
_IMAGE = r"^[A-Za-z0-9][A-Za-z0-9._/:@-]*$"


def _as_in_tables(value: object) -> object:
    """SkyPilot's tables have its clouds in small letters and in full; people write AWS and k8s, which it takes too."""
    name = value.lower() if isinstance(value, str) else value
    return "kubernetes" if name == "k8s" else name


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
    private: bool = Field(
        default=True,
        description="Whether repositories of the Hub that this run makes (`hub_model_id`, `push_dataset_to_hub`) are private. One that is public already is not written to unless this is false: the model, the recipe and with some strategies the training state would be there for everybody.",
    )


class RecoverySection(Section):
    """When a dead training process is started again."""

    max_restarts_without_progress: int = Field(
        default=10,
        ge=0,
        description="Give up after this many deaths in a row by a signal (a kill, the memory killer, a preemption) with no newer sealed checkpoint between them. An error raised by the training code itself is never retried.",
    )
    machines: bool | None = Field(
        default=None,
        description="Whether SkyPilot finds another machine when the rented one is lost: the run is a managed job then, watched by SkyPilot's jobs controller, which may be a small machine of its own. Default: for interruptible machines.",
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
    cloud: Annotated[str | None, BeforeValidator(_as_in_tables)] = Field(
        default=None, description="Where to run: `local` is this machine; a SkyPilot cloud name otherwise."
    )
    region: str | list[str] | None = Field(
        default=None,
        description="Region of that cloud, or a list of which any will do; `CLOUD/REGION`, as `gcp/us-central1`, where `cloud` is unset. Unset: any region.",
    )
    gpus: str | list[str] | None = Field(
        default=None,
        description="GPU kind and count in SkyPilot's names, `A100-80GB:8`; a list means any of them. Unset on this machine: whatever it has.",
    )
    prefer: Literal["cheapest", "listed"] = Field(
        default="cheapest",
        description="Which machine is taken where several will do. `cheapest`: the one on which the run is expected to cost least, of those that are to be had; where that is not known, the one with the lowest price an hour. `listed`: the first of `gpus` that is to be had, interruptible before on demand where `spot` is unset, and of its regions the first of `region`.",
    )
    nodes: int = Field(
        default=1,
        ge=1,
        description="Number of machines of that kind. Each writes its part of a checkpoint to its own disk, and all parts are sealed as one in the `storage`, which several machines need unless they share the disk of `output_dir`.",
    )
    processes: int | None = Field(
        default=None, ge=1, description="Training processes on this machine. Default: one for each GPU, one on a CPU."
    )
    spot: bool | None = Field(
        default=None,
        description="Take interruptible machines. Unset: decided by expected cost where the cloud offers both; when interruptible ones are cheaper and none is to be had, the run starts on demand.",
    )
    preemption_h: float | None = Field(
        default=None,
        gt=0,
        description="Mean hours between two preemptions of this run's machines, where you know better than the launcher's own figures. Without `save_steps`, `saves_per_epoch` and `save_strategy`, a run that can be preempted, or has a `storage`, saves as often as loses least: every sqrt(2 C M) seconds, where C is the measured time a save holds training up and M is this; between 1 and 30 minutes, half of M at most. Default there: 4.",
    )
    image: str | None = Field(
        default=None,
        pattern=_IMAGE,
        description="Container image that has the runtime, such as one made by `launcher image build`. To a private registry, SkyPilot logs in with SKYPILOT_DOCKER_SERVER, SKYPILOT_DOCKER_USERNAME and SKYPILOT_DOCKER_PASSWORD: name all three in `secrets`. Unset: the cloud's own machine image, on which the launcher and the training stack are installed before training, which takes some minutes.",
    )
    ports: list[Annotated[int, Field(ge=1, le=65535)]] = Field(
        default_factory=list,
        description="Ports of a rented machine that are opened to everybody, such as 6006 for a TensorBoard that a plugin starts there. Clouds whose machines cannot open any are left out. The processes of a run reach each other without.",
    )
    storage: str | None = Field(
        default=None,
        description="Where sealed checkpoints and the final model go while training continues, verified there: a folder or `file:///…`; `s3://BUCKET/PREFIX` (R2, MinIO and others with `?endpoint=https://HOST` or AWS_ENDPOINT_URL); `gs://BUCKET/PREFIX`; `az://CONTAINER/PREFIX` or `https://ACCOUNT.blob.core.windows.net/CONTAINER/PREFIX`; `hf://OWNER/NAME` (or `NAME@BRANCH/PREFIX`), a private repository of the Hugging Face Hub, made if need be, for runs on this machine alone: the Hub takes some 100 commits an hour, so it is never the only copy of a running training. A bucket must exist. Credentials come from the environment, those of S3 also from an AWS profile, those of Azure also from an identity of Entra ID (a service principal, a managed identity, `az login`), and are never part of the address. Unset on this machine: they stay in the output folder alone.",
    )
    upload_mb_per_s: float | None = Field(
        default=None,
        gt=0,
        description="The most this run sends to its `storage`, in 1e6 bytes a second, all files and threads together, averaged over pieces of 8 to 16 MiB. For a line that others need too; bringing a checkpoint back is not slowed. Uploads that take longer than the saves are apart are skipped for newer ones, and a save interval chosen by the run itself grows to what the line can take. Unset: as fast as it goes.",
    )
    keep_every_steps: int | None = Field(
        default=None,
        ge=1,
        description="With `save_total_limit`: besides the newest so many, every sealed checkpoint whose step is a multiple of this is kept for good, here and in the `storage`. Unset: only the newest, and the best where `load_best_model_at_end` is set.",
    )
    max_cost_usd: float | None = Field(
        default=None,
        gt=0,
        description="The run is stopped at a sealed checkpoint before it costs more. All runs of a sweep together cost no more: each gets a part of it, by what it is expected to cost. What a run has cost counts on after `launcher resume`, which can set another cap.",
    )
    max_hours: float | None = Field(
        default=None,
        gt=0,
        description="The run is stopped at a sealed checkpoint after this many hours of wall time; each run of a sweep for itself. They count anew after `launcher resume`.",
    )
    stall_minutes: float | None = Field(
        default=60.0,
        gt=0,
        description="On a rented machine, stop the run when it has shown no sign of life (no step, no line of its log) for so many minutes: a hang is billed as work is. `null` waits for ever.",
    )
    secrets: list[SecretName] = Field(
        default_factory=list,
        description="Names of environment variables the training needs, such as HF_TOKEN. Their values are handed to the process and written nowhere.",
    )
    publish: PublishSection = Field(default_factory=PublishSection, description="What happens after training.")
    recovery: RecoverySection = Field(default_factory=RecoverySection, description="When a dead training process is started again.")
    probe: bool | Literal["auto"] = Field(
        default="auto",
        description="Before training, and again before a resumed run goes on, try one step at the longest rows and end with exit code 3 when it does not fit (`auto_find_batch_size` lowers the micro batch instead). It takes some seconds and leaves the training as it would be without. `auto`: on a GPU, where the count is exact, and wherever `auto_find_batch_size` is set; on a CPU, only what is far too large is refused.",
    )
    backend: Literal["auto", "local", "sky"] = Field(
        default="auto", description="Which backend runs it; `auto` takes `local` for `cloud: local` and SkyPilot otherwise."
    )

    @property
    def regions(self) -> tuple[str, ...]:
        """The regions that will do, none for any."""
        return (self.region,) if isinstance(self.region, str) else tuple(self.region or ())

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of GPUs that will do, with their counts, as they are written; empty for none named."""
        return (self.gpus,) if isinstance(self.gpus, str) else tuple(self.gpus or ())

    @property
    def rented(self) -> bool:
        """Whether the run takes place on a rented machine, as `up` decides it: this machine has to be named, a cloud or GPUs mean another one."""
        if self.cloud == "local" or self.backend == "local":
            return False
        return self.cloud is not None or self.gpus is not None or self.backend == "sky"
