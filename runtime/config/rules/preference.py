"""Rules about methods that learn from preferences and rewards."""

from __future__ import annotations

from collections.abc import Iterator
from types import MappingProxyType

from runtime.config import choices
from runtime.config.effects import effect_of
from runtime.config.finding import Finding, conflict
from runtime.config.given import given
from runtime.config.schema import TrainingConfig

DPO = ("dpo", "ipo")
GROUPS = ("grpo", "gdpo")
# Options that only some methods look at.
METHODS = MappingProxyType(
    {
        **dict.fromkeys(
            (
                "dpo_use_weighting",
                "dpo_use_logits_to_keep",
                "dpo_label_smoothing",
                "dpo_norm_loss",
                "dpo_use_liger_kernel",
                "dpo_padding_free",
                "dpo_generate_during_eval",
                "dpo_ld_alpha",
                "dpo_loss_type",
                "dpo_loss_weights",
                "rpo_alpha",
            ),
            DPO,
        ),
        "precompute_ref_log_probs": (*DPO, "kto"),
        "rl_adapter_ref_model": (*DPO, "kto"),
        "orpo_alpha": ("orpo",),
        "simpo_gamma": ("simpo",),
        "cpo_alpha": ("simpo",),
        "kto_desirable_weight": ("kto",),
        "kto_undesirable_weight": ("kto",),
        "rl_beta": (*DPO, "kto", "simpo", "orpo", *GROUPS, "ebft"),
        "ebft": ("ebft",),
    }
)
# Types whose rows have one answer: nothing in them could be compared.
_ONE_ANSWER = ("chat_template", "completion", "input_output", "pretrain", "sharegpt")
# Of these a comparison of answers is made; other methods take prompts, or rows of their own.
_COMPARING = ("dpo", "ipo", "simpo", "orpo", "kto")


def _scores(config: TrainingConfig) -> str | None:
    return next((name for name in ("reward_model", "process_reward_model") if given(config, name)), None)


def comes_later(config: TrainingConfig) -> bool:
    """Whether the method is refused as it is: what it needs besides is then of no interest."""
    asked = "rl" if config.rl else _scores(config)
    return asked is not None and effect_of(asked).kind == "unsupported"


def method_options_used(config: TrainingConfig) -> Iterator[Finding]:
    """Options of one method stand under that method."""
    for name, methods in METHODS.items():
        if given(config, name) and config.rl not in methods:
            now = f"rl is '{config.rl}'" if config.rl else "there is no `rl`"
            message = f"'{name}' has no effect: it belongs to `rl: {methods[0]}`, and {now}"
            yield conflict(name, message, f"Write `rl: {methods[0]}`, or remove it.", "rl", warning=True)
    for name in ("trl", "vllm"):
        if given(config, name) and not config.rl:
            yield conflict(name, f"'{name}' has no effect without `rl`", "Write `rl: grpo`, or remove it.", "rl", warning=True)


def compared_answers_given(config: TrainingConfig) -> Iterator[Finding]:
    """Methods that compare answers read data with answers to compare."""
    asked = config.rl if config.rl in _COMPARING else _scores(config)
    if asked is None or comes_later(config):
        return
    for index, source in enumerate(config.datasets or ()):
        kind = source.type
        # ORPO's own type and the scoring models' start with their method; a name with a dot may be a module of the reader's.
        if not isinstance(kind, str) or "." in kind or kind not in choices.dataset_types().built | set(_ONE_ANSWER):
            continue
        said = f"`rl: {asked}`" if config.rl else f"'{asked}'"
        fix = "Choose a type with two answers, such as chat_template.default." if asked != "kto" else "Choose a type with judged answers."
        yield conflict(("datasets", index, "type"), f"{said} compares answers, and rows of `type: {kind}` have one each", fix, "rl", asked)


def comparisons_are_used(config: TrainingConfig) -> Iterator[Finding]:
    """Rows with several answers train something that compares them."""
    if config.rl or _scores(config) or config.plugins or config.trainer_cls or effect_of("rl").kind == "unsupported":
        return
    preferences = choices.preference_types()
    for index, source in enumerate(config.datasets or ()):
        if isinstance(source.type, str) and source.type in preferences:
            message = f"rows of `type: {source.type}` have answers to compare, and no `rl` compares them"
            yield Finding(
                code="missing", path=("rl",), involves=("datasets",), message=message, fix="Add `rl: dpo`, or choose another type."
            )
            return
        if isinstance(source.type, str) and source.type.startswith("bradley_terry"):
            yield Finding(
                code="missing",
                path=("reward_model",),
                involves=("datasets",),
                message=f"`datasets[{index}].type: {source.type}` trains a model that scores answers",
                fix="Add `reward_model: true`.",
            )
            return


def preferences_unpacked(config: TrainingConfig) -> Iterator[Finding]:
    """Answers that are compared stay apart."""
    asked = f"`rl: {config.rl}`" if config.rl else f"'{_scores(config)}'"
    if comes_later(config) or not (config.rl or _scores(config)):
        return
    for name in ("sample_packing", "eval_sample_packing", "batch_flattening"):
        if given(config, name) and getattr(config, name) != "auto":
            yield conflict(
                name, f"'{name}' does not go with {asked}: answers that are compared stay in rows of their own", "Remove it.", "rl"
            )
    if config.rl and given(config, "pretraining_dataset"):
        yield conflict(
            "pretraining_dataset", f"{asked} needs rows with answers, and this is plain text", "Name them under `datasets`.", "rl"
        )


def lora_kernels_unwatched(config: TrainingConfig) -> Iterator[Finding]:
    """Methods with a reference model switch the adapter off and on, which fused LoRA does not notice."""
    for name in ("lora_mlp_kernel", "lora_qkv_kernel", "lora_o_kernel", "lora_embedding_kernel"):
        if config.rl and given(config, name):
            yield conflict(name, f"'{name}' does not go with `rl: {config.rl}`", "Remove it.", "rl")


def losses_weighted(config: TrainingConfig) -> Iterator[Finding]:
    """Every loss of several has a weight."""
    weights, losses = config.dpo_loss_weights, config.dpo_loss_type
    if weights is None or len(weights) == len(losses or ("sigmoid",)):
        return
    message = f"dpo_loss_weights has {len(weights)} numbers, and dpo_loss_type names {len(losses or ('sigmoid',))} losses"
    yield conflict("dpo_loss_weights", message, "Give one weight for each loss.", "dpo_loss_type")


def ipo_is_a_loss(config: TrainingConfig) -> Iterator[Finding]:
    """IPO is DPO with a loss of its own."""
    if config.rl == "ipo" and config.dpo_loss_type and config.dpo_loss_type != ["ipo"]:
        yield conflict("dpo_loss_type", "`rl: ipo` is one loss, and 'dpo_loss_type' names others", "Write `rl: dpo`, or remove it.", "rl")


def smoothing_has_a_loss(config: TrainingConfig) -> Iterator[Finding]:
    """Two of the losses are made of their smoothing."""
    if config.rl == "dpo" and "exo_pair" in (config.dpo_loss_type or ()) and not config.dpo_label_smoothing:
        message = "the loss 'exo_pair' needs 'dpo_label_smoothing' above 0"
        yield Finding(
            code="missing", path=("dpo_label_smoothing",), involves=("dpo_loss_type",), message=message, fix="1e-3 is its paper's value."
        )
    if config.rl == "dpo" and config.dpo_use_weighting:
        for name in ("aot", "aot_unpaired"):
            if name in (config.dpo_loss_type or ()):
                message = f"the loss '{name}' sorts answers, and 'dpo_use_weighting' weighs pairs"
                yield conflict("dpo_use_weighting", message, "Remove one of them.", "dpo_loss_type")


RULES = (
    method_options_used,
    compared_answers_given,
    comparisons_are_used,
    preferences_unpacked,
    lora_kernels_unwatched,
    losses_weighted,
    ipo_is_a_loss,
    smoothing_has_a_loss,
)
