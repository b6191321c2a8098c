"""Options of preference methods and reward models."""

from typing import Literal

from pydantic import Field


class PreferenceOptions:
    """Learning from comparisons of answers."""

    rl: Literal["dpo", "ipo", "kto", "simpo", "orpo", "grpo", "gdpo", "ebft"] | None = Field(
        None, description="Method that learns from preferences or rewards. Unset: supervised fine-tuning on answers."
    )
    rl_beta: float | None = Field(
        None, ge=0, description="How far the model may move from the reference model: higher stays closer. DPO's usual value is 0.1."
    )
    rl_adapter_ref_model: bool | None = Field(
        None, description="Keep a separate reference model although an adapter could be switched off instead."
    )
    dpo_use_weighting: bool | None = Field(None, description="Weight pairs by how likely they are under the model (WPO).")
    dpo_use_logits_to_keep: bool | None = Field(None, description="Compute logits only where answers are.")
    dpo_label_smoothing: float | None = Field(None, ge=0, le=0.5, description="Share of pairs assumed to be labelled the wrong way round.")
    dpo_norm_loss: bool | None = Field(None, description="Divide the log probability of an answer by its length.")
    dpo_use_liger_kernel: bool | None = Field(None, description="Liger's fused DPO loss.")
    dpo_padding_free: bool | None = Field(None, description="Join the pairs of a batch without padding.")
    dpo_generate_during_eval: bool | None = Field(None, description="Show answers of both models at evaluations.")
    dpo_ld_alpha: float | None = Field(
        None, ge=0, le=1, description="Weight of the part of the longer answer beyond the shorter one's length."
    )
    dpo_loss_type: list[str] | None = Field(None, description="DPO losses to use, by TRL's names.")
    dpo_loss_weights: list[float] | None = Field(None, description="Weight of each of them.")
    precompute_ref_log_probs: bool | None = Field(
        None, description="Compute the reference model's log probabilities once, before training."
    )
    rpo_alpha: float | None = Field(None, ge=0, description="Weight of an added supervised loss on the preferred answer (RPO).")
    orpo_alpha: float | None = Field(None, ge=0, description="ORPO: weight of the odds-ratio loss.")
    simpo_gamma: float | None = Field(None, description="SimPO: margin by which the preferred answer must win.")
    cpo_alpha: float | None = Field(None, ge=0, description="CPO and SimPO: weight of the supervised part.")
    kto_desirable_weight: float | None = Field(None, ge=0, description="KTO: weight of answers judged good.")
    kto_undesirable_weight: float | None = Field(
        None, ge=0, description="KTO: weight of answers judged bad. Choose both so that each side counts alike."
    )
    reward_model: bool | None = Field(None, description="Train a model that scores answers, from pairs.")
    process_reward_model: bool | None = Field(None, description="Train a model that scores each step of an answer.")
    center_rewards_coefficient: float | None = Field(
        None, ge=0, description="Reward model: how strongly the mean score is drawn to zero. 0.01 is usual."
    )
    num_labels: int | None = Field(None, ge=1, description="Outputs of a scoring model.")
    kd_trainer: bool | float | None = Field(
        None,
        description="Distillation: learn from a teacher's probabilities for the tokens of the data, which stand in datasets of `type: axolotl.integrations.kd.chat_template` or come from `kd_online_server_base_url`. Evaluation still shows the plain loss.",
    )
    kd_alpha: float | None = Field(
        None, ge=0, description="Distillation: weight of the divergence from the teacher, times the temperature squared. Default: 1."
    )
    kd_beta: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Distillation: which divergence. 0 (default): KL(teacher ‖ model); 1: KL(model ‖ teacher); between: the generalized Jensen-Shannon divergence. Above 0 it needs `kd_normalize_topk: true`.",
    )
    kd_ce_alpha: float | None = Field(
        None, ge=0, description="Distillation: weight of the ordinary loss on the tokens themselves. Default: 0, the teacher alone."
    )
    kd_normalize_topk: bool | float | None = Field(
        None,
        description="Distillation: compare with the model's probabilities over the teacher's candidates, made to add up to one as the teacher's are. Default: no, over the whole vocabulary, which also moves probability from other tokens to them.",
    )
    kd_temperature: float | None = Field(
        None, gt=0, description="Distillation: temperature of both distributions; above 1 the unlikely candidates count more. Default: 1."
    )
    kd_temperature_min: float | None = Field(
        None, gt=0, description="Distillation: temperature at the end of the run, to which `kd_temperature` falls along half a cosine."
    )
    kd_online_server: Literal["vllm", "sglang"] | None = Field(
        None, description="Distillation: kind of that server, `vllm` (default) or `sglang`."
    )
    kd_online_server_base_url: str | None = Field(
        None,
        description="Distillation: address of a server whose model, of the same tokenizer, is asked for its probabilities of every batch, instead of reading them from the data. A key in OPENAI_API_KEY is sent along. Runs repeat exactly only if its answers do.",
    )
    kd_online_timeout: int | None = Field(
        None, ge=1, description="Distillation: seconds to wait for an answer of that server. Default: 120."
    )
    kd_online_topk: int | None = Field(
        None, ge=1, description="Distillation: likeliest tokens that server is asked for. Default: 20, the most vLLM gives as it starts."
    )
