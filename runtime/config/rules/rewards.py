"""Rules about learning from rewards: what generates, what judges, and the model that is compared with."""

from __future__ import annotations

from collections.abc import Iterator

from runtime.config.document import Path
from runtime.config.finding import Finding, conflict
from runtime.config.given import given
from runtime.config.rules.preference import DPO, GROUPS, comes_later
from runtime.config.schema import TrainingConfig

_TRL_VLLM = (
    "vllm_mode",
    "vllm_server_timeout",
    "vllm_guided_decoding_regex",
    "vllm_enable_sleep_mode",
    "vllm_importance_sampling_correction",
    "vllm_importance_sampling_mode",
    "vllm_importance_sampling_cap",
    "vllm_importance_sampling_clip_min",
    "vllm_importance_sampling_clip_max",
    "vllm_sync_interval",
    "vllm_lora_sync",
)


def reference_stands_still(config: TrainingConfig) -> Iterator[Finding]:
    """A reference model that follows has to be there, and cannot be computed ahead."""
    trl = config.trl
    if trl is None or not trl.sync_ref_model:
        return
    beta = trl.beta if trl.beta is not None else config.rl_beta
    if config.precompute_ref_log_probs:
        message = "'sync_ref_model' moves the reference model, and 'precompute_ref_log_probs' computes it once"
        yield conflict(("trl", "sync_ref_model"), message, "Keep one of them.", "precompute_ref_log_probs")
    if config.rl in GROUPS and beta == 0:
        message = "'sync_ref_model' needs a reference model, and with a beta of 0 there is none"
        yield conflict(("trl", "sync_ref_model"), message, "Set `trl.beta` above 0, or remove it.", "rl_beta")
    if config.adapter in ("lora", "qlora") and config.rl in DPO:
        message = "'sync_ref_model' moves a separate reference model; with an adapter the reference is the base itself"
        yield conflict(("trl", "sync_ref_model"), message, "Remove it.", "adapter")


def beta_said_once(config: TrainingConfig) -> Iterator[Finding]:
    """Both places of beta agree."""
    if config.trl is not None and config.trl.beta is not None and config.rl_beta is not None and config.trl.beta != config.rl_beta:
        message = f"'trl.beta' is {config.trl.beta:g}, and 'rl_beta' is {config.rl_beta:g}"
        yield conflict(("trl", "beta"), message, "Keep one of them.", "rl_beta")


def rewards_given(config: TrainingConfig) -> Iterator[Finding]:
    """Something judges generated answers, and each judgement has a weight."""
    if comes_later(config):
        return
    trl = config.trl
    elsewhere = config.nemo_gym_enabled or config.hatchery is not None or config.plugins or config.trainer_cls
    if config.rl in GROUPS and not elsewhere and (trl is None or not (trl.reward_funcs or trl.rollout_func)):
        path: Path = ("trl", "reward_funcs") if trl is not None else ("trl",)
        message = f"`rl: {config.rl}` needs 'trl.reward_funcs', the functions that judge answers"
        yield Finding(code="missing", path=path, involves=("rl",), message=message, fix="List them: `reward_funcs: [rewards.is_short]`.")
    if trl is not None and trl.reward_weights is not None and len(trl.reward_weights) != len(trl.reward_funcs or ()):
        message = (
            f"trl.reward_weights has {len(trl.reward_weights)} numbers, and trl.reward_funcs has {len(trl.reward_funcs or ())} functions"
        )
        yield conflict(("trl", "reward_weights"), message, "Give one weight for each function.", "rl")


def answers_compared(config: TrainingConfig) -> Iterator[Finding]:
    """A group has at least two answers, and keeps its size."""
    trl = config.trl
    if config.rl in GROUPS and trl is not None and trl.num_generations == 1:
        message = "trl.num_generations is 1: answers are judged against each other, so there must be two"
        yield Finding(code="out-of-range", path=("trl", "num_generations"), involves=("rl",), message=message, fix="8 is usual.")
    if config.rl in GROUPS and given(config, "auto_find_batch_size"):
        message = f"`rl: {config.rl}` needs whole groups of answers in a batch, which 'auto_find_batch_size' would cut"
        yield conflict("auto_find_batch_size", message, "Lower micro_batch_size instead.", "rl")


def generation_settings_used(config: TrainingConfig) -> Iterator[Finding]:
    """Settings of vLLM stand with vLLM, in the mode that looks at them."""
    trl = config.trl
    if trl is None:
        return
    for name in _TRL_VLLM:
        if not trl.use_vllm and name in trl.model_fields_set and getattr(trl, name):
            yield conflict(
                ("trl", name), f"'trl.{name}' has no effect without `trl.use_vllm: true`", "Add it, or remove this.", "rl", warning=True
            )
    if trl.use_vllm and trl.vllm_mode == "colocate":
        for name in ("vllm_server_host", "vllm_server_port", "vllm_server_timeout"):
            if name in trl.model_fields_set:
                yield conflict(
                    ("trl", name),
                    f"'trl.{name}' has no effect with `vllm_mode: colocate`: there is no server",
                    "Remove it.",
                    "rl",
                    warning=True,
                )
    low, high = trl.vllm_importance_sampling_clip_min, trl.vllm_importance_sampling_clip_max
    if low is not None and high is not None and low >= high:
        message = f"trl.vllm_importance_sampling_clip_min ({low:g}) must be below the maximum ({high:g})"
        yield conflict(("trl", "vllm_importance_sampling_clip_min"), message, "Lower it.", "rl")
    for name in ("ref_model_mixup_alpha", "ref_model_sync_steps"):
        if name in trl.model_fields_set and not trl.sync_ref_model:
            message = f"'trl.{name}' has no effect without `trl.sync_ref_model: true`"
            yield conflict(("trl", name), message, "Add it, or remove this.", "rl", warning=True)


def clipping_has_order(config: TrainingConfig) -> Iterator[Finding]:
    """The upper bound of a step is not below the lower."""
    trl = config.trl
    if trl is not None and trl.epsilon is not None and trl.epsilon_high is not None and trl.epsilon_high < trl.epsilon:
        message = f"trl.epsilon_high ({trl.epsilon_high:g}) is below trl.epsilon ({trl.epsilon:g})"
        yield conflict(("trl", "epsilon_high"), message, "Raise it: 0.28 over 0.2 is usual.", "rl", warning=True)


RULES = (
    reference_stands_still,
    beta_said_once,
    rewards_given,
    answers_compared,
    generation_settings_used,
    clipping_has_order,
)
