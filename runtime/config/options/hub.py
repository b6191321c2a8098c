"""Options of uploads and of services that train elsewhere."""

from typing import Any, Literal

from pydantic import Field

from runtime.config.section import Section


class CoreWeave(Section):
    """Rollouts on CoreWeave's inference service."""

    api_token_env: str | None = Field(None, description="Name of the environment variable with the token.")
    api_url: str | None = Field(None, description="Address of the service.")
    async_publish: bool | None = Field(None, description="Send weights while training goes on.")
    bucket: str | None = Field(None, description="Bucket the weights go to.")
    deployment_id: str | None = Field(None, description="Deployment that serves them.")
    gateway_url: str | None = Field(None, description="Address of its gateway.")
    max_deltas: int | None = Field(None, ge=0, description="Most differences between two full uploads.")
    max_shard_size: int | None = Field(None, ge=1, description="Largest file, in bytes.")
    model: str | None = Field(None, description="Name of the model there.")
    path_prefix: str | None = Field(None, description="Folder inside the bucket.")
    poll_interval: float | None = Field(None, gt=0, description="Seconds between looks at its state.")
    rollouts: bool | None = Field(None, description="Generate there.")
    s3_endpoint_url: str | None = Field(None, description="Address of the object store.")
    s3_profile: str | None = Field(None, description="Credentials profile of the object store.")
    timeout: float | None = Field(None, gt=0, description="Seconds to wait for an answer.")


class Hatchery(Section):
    """Training on a remote service (Tinker or Hatchery)."""

    api_key: str | None = Field(None, description="Key of the service. A secret has no place in a recipe.")
    backend: Literal["tinker", "hatchery"] | None = Field(None, description="Which service.")
    base_url: str | None = Field(None, description="Its address.")
    future_timeout: float | None = Field(None, gt=0, description="Seconds to wait for a result.")
    lora_rank: int | None = Field(None, ge=1, description="Rank of the adapter.")
    loss_fn: Literal["cross_entropy", "importance_sampling", "ppo", "cispo", "dro"] | None = Field(
        None, description="Loss the service computes."
    )
    loss_fn_config: dict[str, Any] | None = Field(None, description="Arguments of the loss.")
    max_sample_tokens: int | None = Field(None, ge=1, description="Longest generated answer, in tokens.")
    num_samples: int | None = Field(None, ge=1, description="Answers to each prompt.")
    pipeline: bool | None = Field(None, description="Send the next step before the last has come back.")
    project_id: str | None = Field(None, description="Project there.")
    reward_funcs: list[str] | None = Field(None, description="Import paths of the functions that judge answers.")
    sample_temperature: float | None = Field(None, ge=0, description="Randomness of generation.")
    save_name_prefix: str | None = Field(None, description="Beginning of saved names.")
    save_steps: int | None = Field(None, ge=1, description="Steps between saves.")
    train_attn: bool | None = Field(None, description="Adapt attention layers.")
    train_mlp: bool | None = Field(None, description="Adapt MLP layers.")
    train_unembed: bool | None = Field(None, description="Adapt the output head.")


class HubOptions:
    """Where results go."""

    hub_model_id: str | None = Field(
        None,
        description="Model repository on the Hub that gets the result, `owner/name`, or a name alone for one of your own. It is made if need be, private unless `launch.publish.private` says otherwise. At the end it gets the merged model, or the adapter with `launch.publish.merge: false`, with its card and recipe, as one commit over whatever is there, and every file is compared afterwards (exit 7 when that fails; `launcher publish RUN` tries again). Needs a token that may write, which is tried before training starts: HF_TOKEN, named in `launch.secrets`, or one stored by `hf auth login`.",
    )
    hub_strategy: Literal["end", "every_save", "checkpoint", "all_checkpoints"] | None = Field(
        None,
        description="What goes to `hub_model_id` while training goes on. `end`: nothing; `every_save`: the model of each checkpoint, at the top of the repository; `checkpoint`: that, and all a resume needs in the folder `last-checkpoint`; `all_checkpoints`: that, each in `checkpoints/step-…`. Default: every_save, as in transformers. Pushes wait for no step: when they are slower than the saves, the newest checkpoint wins. They are copies; a resume uses `output_dir` or `launch.storage`.",
    )
    hub_revision: str | None = Field(
        None, description="Branch of `hub_model_id` to push to; made from its main branch if need be. Default: main."
    )
    coreweave: CoreWeave | None = Field(None, description="Rollouts on CoreWeave.")
    hatchery: Hatchery | None = Field(None, description="Training on a remote service.")
