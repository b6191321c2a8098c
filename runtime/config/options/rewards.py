"""Options of reinforcement learning: generation, rewards, and the server that generates."""

from typing import Any, Literal

from pydantic import Field

from runtime.config.section import Section


class Trl(Section):
    """GRPO and its relatives: the model generates, rewards judge, the model learns."""

    beta: float | None = Field(
        None, ge=0, description="How far the model may move from the reference model; the same as `rl_beta`. 0 needs no reference model."
    )
    max_completion_length: int | None = Field(None, ge=1, description="Longest generated answer, in tokens.")
    use_vllm: bool = Field(False, description="Generate with vLLM: much faster than the trainer's own generation.")
    vllm_mode: Literal["server", "colocate"] | None = Field(
        None, description="vLLM on devices of its own (`server`) or sharing the training devices (`colocate`)."
    )
    vllm_server_host: str | None = Field("0.0.0.0", description="Host of the vLLM server.")  # noqa: S104 - the reference's default
    vllm_server_port: int | None = Field(8000, ge=1, le=65535, description="Port of the vLLM server.")
    vllm_server_timeout: int | None = Field(None, ge=1, description="Seconds to wait for the vLLM server to come up.")
    vllm_guided_decoding_regex: str | None = Field(None, description="Regular expression that answers must match.")
    vllm_enable_sleep_mode: bool | None = Field(None, description="Let vLLM give its memory back while the model trains.")
    vllm_importance_sampling_correction: bool | None = Field(
        None, description="Correct for the small differences between vLLM's probabilities and the trainer's."
    )
    vllm_importance_sampling_mode: Literal["token_truncate", "token_mask", "sequence_truncate", "sequence_mask"] | None = Field(
        None, description="Whether that correction is cut or masked, by token or by answer."
    )
    vllm_importance_sampling_cap: float | None = Field(None, gt=0, description="Largest correction.")
    vllm_importance_sampling_clip_min: float | None = Field(None, ge=0, description="Smallest correction that counts.")
    vllm_importance_sampling_clip_max: float | None = Field(None, ge=0, description="Largest correction that counts.")
    vllm_sync_interval: int | None = Field(None, ge=1, description="Steps between sending new weights to vLLM.")
    vllm_lora_sync: bool = Field(False, description="Send only the adapter to vLLM instead of merged weights.")
    reward_funcs: list[str] | None = Field(None, description="Import paths of the functions that judge answers.")
    reward_weights: list[float] | None = Field(None, description="Weight of each of them. Default: all the same.")
    reward_num_workers: int = Field(1, ge=1, description="Processes that compute rewards.")
    rollout_func: str | None = Field(None, description="Import path of a function that generates in its own way.")
    num_generations: int | None = Field(
        None, ge=1, description="Answers to each prompt; they are judged against each other. Must divide the batch."
    )
    generation_batch_size: int | None = Field(None, ge=1, description="Prompts generated for at a time.")
    generation_kwargs: dict[str, Any] | None = Field(None, description="Further arguments of generation.")
    chat_template_kwargs: dict[str, Any] | None = Field(None, description="Extra variables for the chat template of prompts.")
    log_completions: bool | None = Field(False, description="Log generated answers.")
    num_completions_to_print: int | None = Field(None, ge=1, description="How many of them.")
    log_multimodal: bool | None = Field(None, description="Log images with them.")
    importance_sampling_level: Literal["sequence", "token"] | None = Field(
        None, description="Ratios for each `token` (GRPO, the default) or for a whole `sequence` (GSPO)."
    )
    sync_ref_model: bool | None = Field(False, description="Let the reference model follow the trained one.")
    ref_model_mixup_alpha: float | None = Field(0.9, ge=0, le=1, description="Weight of the trained model each time it follows.")
    ref_model_sync_steps: int | None = Field(64, ge=1, description="Steps between those times.")
    scale_rewards: bool = Field(True, description="Divide rewards by their spread within a group.")
    multi_objective_aggregation: Literal["sum_then_normalize", "normalize_then_sum"] | None = Field(
        None, description="Whether several rewards are added before or after they are normalized."
    )
    temperature: float | None = Field(None, gt=0, description="Randomness of generation.")
    top_p: float | None = Field(None, gt=0, le=1, description="Draw from the likeliest tokens that make up this share.")
    top_k: int | None = Field(None, ge=-1, description="Draw from this many likeliest tokens.")
    min_p: float | None = Field(None, ge=0, le=1, description="Leave out tokens less likely than this share of the likeliest.")
    repetition_penalty: float | None = Field(None, gt=0, description="Above 1, tokens that were already used become less likely.")
    num_iterations: int | None = Field(None, ge=1, description="Passes over each batch of answers (μ).")
    epsilon: float | None = Field(
        None, gt=0, description="How far probabilities may move in one step; the lower bound when `epsilon_high` is set."
    )
    epsilon_high: float | None = Field(None, gt=0, description="The upper bound.")
    use_liger_loss: bool | None = Field(None, description="Liger's fused GRPO loss.")
    loss_type: str | None = Field(None, description="How token losses are averaged: `grpo`, `bnpo`, `dr_grpo`, `dapo`.")
    mask_truncated_completions: bool = Field(False, description="Leave answers that hit the length limit out of the loss.")
    entropy_coef: float | None = Field(None, description="Weight of a bonus for varied answers.")
    use_adaptive_entropy: bool | None = Field(None, description="Adjust that weight to reach `entropy_target`.")
    entropy_target: float | None = Field(None, ge=0, description="Entropy to reach.")
    entropy_coef_delta: float | None = Field(None, ge=0, description="Size of an adjustment.")
    entropy_coef_min: float | None = Field(None, description="Lowest weight.")
    entropy_coef_max: float | None = Field(None, description="Highest weight.")
    off_policy_mask_threshold: float | None = Field(None, description="Leave out answers whose probability has moved further than this.")
    use_bias_correction_kl: bool | None = Field(None, description="Correct the estimate of the distance to the reference model.")
    use_data_producer: bool = Field(False, description="Generate apart from training.")
    async_prefetch: bool = Field(False, description="Generate the next batch while this one trains.")
    prefetch_depth: int | None = Field(None, ge=1, description="Batches generated ahead.")
    streaming_partial_batch: bool | None = Field(
        None, description="Train on the groups that are ready instead of waiting for a whole batch."
    )
    streaming_min_groups: int | None = Field(None, ge=1, description="Fewest groups to start with.")
    replay_buffer_size: int = Field(0, ge=0, description="Groups of answers kept to train on again. 0: none.")
    replay_recompute_logps: bool = Field(True, description="Compute their probabilities anew.")
    reroll_start_fraction: float = Field(
        1.0, ge=0, le=1, description="Share of training after which groups without any difference in reward are generated again."
    )
    reroll_max_groups: int = Field(1, ge=0, description="Most groups generated again in a step.")
    skip_zero_advantage_batches: bool = Field(True, description="Skip batches in which all answers are worth the same.")


class VllmServer(Section):
    """The vLLM server that generates."""

    device: str | None = Field("auto", description="Device it runs on.")
    tensor_parallel_size: int | None = Field(None, ge=1, description="Devices that share each matrix product.")
    data_parallel_size: int | None = Field(None, ge=1, description="Copies of the model.")
    gpu_memory_utilization: float | None = Field(0.9, gt=0, le=1, description="Share of GPU memory it takes.")
    dtype: str | None = Field("auto", description="Number format of its weights.")
    max_model_len: int | None = Field(None, ge=1, description="Longest prompt and answer together, in tokens.")
    enable_prefix_caching: bool | None = Field(None, description="Reuse the work on common beginnings.")
    host: str | None = Field("0.0.0.0", description="Host it listens on.")  # noqa: S104 - the reference's default
    port: int | None = Field(8000, ge=1, le=65535, description="Port it listens on.")
    enable_reasoning: bool | None = Field(None, description="Take reasoning traces apart from answers.")
    reasoning_parser: str | None = Field(None, description="Which format of reasoning traces.")


class RewardOptions:
    """Learning from rewards."""

    trl: Trl | None = Field(None, description="Settings of GRPO and its relatives.")
    vllm: VllmServer | None = Field(None, description="Settings of the vLLM server.")
    ebft: dict[str, Any] | None = Field(None, description="Energy-based fine-tuning.")
    nemo_gym_enabled: bool | None = Field(None, description="NeMo Gym: take prompts and rewards from its environments.")
    nemo_gym_dir: str | None = Field(None, description="NeMo Gym: folder of its code.")
    nemo_gym_auto_clone: bool | None = Field(None, description="NeMo Gym: fetch its code.")
    nemo_gym_auto_start: bool | None = Field(None, description="NeMo Gym: start its servers.")
    nemo_gym_config_paths: list[str] | None = Field(None, description="NeMo Gym: its configuration files.")
    nemo_gym_datasets: list[dict[str, Any]] | None = Field(None, description="NeMo Gym: its datasets.")
    nemo_gym_head_port: int | None = Field(None, ge=1, le=65535, description="NeMo Gym: port of its head server.")
    nemo_gym_model_name: str | None = Field(None, description="NeMo Gym: name under which it asks for the model.")
    nemo_gym_multi_turn: bool | None = Field(None, description="NeMo Gym: conversations of several turns.")
    nemo_gym_max_turns: int | None = Field(None, ge=1, description="NeMo Gym: most turns.")
    nemo_gym_run_timeout: int | None = Field(None, ge=1, description="NeMo Gym: seconds a run may take.")
    nemo_gym_server_timeout: int | None = Field(None, ge=1, description="NeMo Gym: seconds to wait for its servers.")
    nemo_gym_verify_timeout: int | None = Field(None, ge=1, description="NeMo Gym: seconds a judgement may take.")
