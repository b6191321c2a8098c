"""What a recipe says about one training step: the workload its memory and time follow from, and what was assumed on the way."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from launcher.estimate.facts import ModelFacts
from launcher.estimate.place import Place
from launcher.estimate.recipe_adapter import adapter_of
from launcher.estimate.recipe_answers import GENERATING, colocated_share, divergence_weight, generated_rows
from launcher.estimate.recipe_gaps import not_modelled
from launcher.estimate.recipe_sharding import context_parallel, sharding_of, tensor_parallel
from launcher.estimate.trained_share import passive_layers, trained_share
from launcher.estimate.workload import Attention, Checkpointing, Fused, Loss, Quantization, Workload

if TYPE_CHECKING:
    from runtime.config.schema import TrainingConfig

PAIRED = ("dpo", "ipo", "orpo", "simpo", "cpo")
PROJECTED_RANK = 128
"""Rank of GaLore's and APOLLO's projections where `optim_args` names none (transformers trainer_optimizer.py)."""
PACKED = ("gptq", "awq")
"""Formats of 4-bit checkpoints that train below adapters as they are."""
CHUNKS = 8
"""Parts of the chunked loss where the recipe names none (runtime.training.losses.choice)."""
WITH_REFERENCE = ("dpo", "ipo", "kto")
# These use up each gradient inside the backward pass (their packages' documentation; transformers' names).
STEPS_IN_BACKWARD = frozenset(
    {
        "lomo",
        "adalomo",
        "galore_adamw_layerwise",
        "galore_adamw_8bit_layerwise",
        "galore_adafactor_layerwise",
        "apollo_adamw_layerwise",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeStep:
    """A workload with the assumptions filled in and the settings whose effect on memory is not in it."""

    workload: Workload
    method: str
    assumptions: tuple[str, ...]
    not_modelled: tuple[str, ...]


def step_of(config: TrainingConfig, facts: ModelFacts, place: Place, *, longest: int | None = None) -> RecipeStep:
    """The step of a recipe at a place; `longest` is the longest row in tokens where it is known."""
    assumptions: list[str] = []
    adapter = adapter_of(config, facts)
    quantization = _quantization(config, facts)
    weights, autocast = _precision(config, place)
    packed = bool(config.sample_packing)
    padded = packed or bool(config.pad_to_sequence_len)
    sequence = int(config.sequence_len)
    if not padded:
        if longest is not None and longest < sequence:
            sequence = longest
        else:
            assumptions.append(f"rows as long as sequence_len ({sequence} tokens), as nothing is packed or known of their lengths")
    micro, accumulation = _batch(config)
    attention = _attention(config)
    rl = str(getattr(config.rl, "value", config.rl) or "")
    if rl in GENERATING and config.trl is not None and config.trl.max_completion_length:
        # Prompts may be as long as the rest of the row.
        sequence = max(sequence, config.trl.max_completion_length)
    workload = Workload(
        adapter=adapter,
        quantization=quantization,
        weight_bytes=weights,
        # Embeddings in fp32 make the stream between the layers fp32.
        residual_bytes=4 if adapter is not None and config.embeddings_skip_upcast is False else weights,
        compute_bytes=2 if autocast or weights == 2 else 4,
        autocast=autocast,
        optimizer=_optimizer(config),
        projected_rank=_rank(config),
        projected_modules=_projected(config),
        micro_batch=micro,
        sequence=sequence,
        pairs=2 if rl in PAIRED or config.reward_model else 1,
        reference_model=adapter is None
        and ((rl in WITH_REFERENCE and not config.precompute_ref_log_probs) or (rl in GENERATING and divergence_weight(config) > 0)),
        accumulation=accumulation,
        checkpointing=_checkpointing(config),
        attention=attention,
        masked=attention == "sdpa" and (packed or micro > 1),
        loss=_loss(config, place, rl),
        loss_parts=int(config.chunked_cross_entropy_num_chunks or CHUNKS),
        evaluates=_evaluates(config),
        evaluation_batch=int(config.eval_batch_size or micro),
        evaluation_sequence=_evaluated_length(config, sequence),
        sharding=sharding_of(config, place, assumptions),
        compiled=_compiles(config),
        quantized_experts=bool(config.quantize_moe_experts) and quantization in ("nf4", "nf4-dq", "int8"),
        trained_share=trained_share(config, facts) if adapter is None else 1.0,
        passive_layers=passive_layers(config, facts) if adapter is None else 0,
        fused=_fused(config, place),
        mlp_pieces=_mlp_pieces(config, facts, sequence),
        context_parallel=context_parallel(config, place),
        tensor_parallel=tensor_parallel(config, place),
        generated=generated_rows(config, rl, micro * accumulation),
        gradient_means=config.grokfast_alpha is not None or config.grokfast_lamb is not None,
        colocated_share=colocated_share(config, rl),
        steps_in_backward=_optimizer(config) in STEPS_IN_BACKWARD,
        device=place.device,
        foreach=place.device == "cuda",
    )
    method = _method(config, quantization)
    return RecipeStep(workload=workload, method=method, assumptions=tuple(assumptions), not_modelled=not_modelled(config, facts, workload))


def _optimizer(config: TrainingConfig) -> str:
    name = str(getattr(config.optimizer, "value", config.optimizer) or "adamw_torch_fused")
    return "sgd with momentum" if name == "sgd" and _argument(config, "momentum") else name


def _argument(config: TrainingConfig, name: str) -> float:
    """A figure among the optimizer's own arguments, written as a mapping or as `name=value, …`; 0 where it is not there."""
    given = config.optim_args or {}
    text = given if isinstance(given, str) else ",".join(f"{key}={value}" for key, value in given.items())
    found = re.search(rf"(?:^|[,\s]){name}\s*=\s*([0-9.eE+-]+)", text)
    try:
        return float(found[1]) if found else 0.0
    except ValueError:
        return 0.0


def _rank(config: TrainingConfig) -> int:
    return int(_argument(config, "rank")) or PROJECTED_RANK


def _projected(config: TrainingConfig) -> tuple[str, ...] | None:
    named = config.optim_target_modules
    return tuple(named) if isinstance(named, list) and not {"all-linear", "all_linear"} & set(named) else None


def _method(config: TrainingConfig, quantization: Quantization) -> str:
    if not config.adapter:
        return "full"
    return {"none": "lora", "int8": "lora on 8 bit"}.get(quantization, "qlora")


def _batch(config: TrainingConfig) -> tuple[int, int]:
    micro = int(config.micro_batch_size or 1)
    if config.batch_size:
        return micro, max(1, int(config.batch_size) // micro)
    return micro, int(config.gradient_accumulation_steps or 1)


def _quantization(config: TrainingConfig, facts: ModelFacts) -> Quantization:
    if config.load_in_4bit:
        double = (config.bnb_config_kwargs or {}).get("bnb_4bit_use_double_quant", True)
        return "nf4-dq" if double else "nf4"
    if config.load_in_8bit:
        return "int8"
    return "packed" if config.adapter and (config.gptq or facts.quantized in PACKED) else "none"


def _precision(config: TrainingConfig, place: Place) -> tuple[int, bool]:
    """(bytes of the weights as loaded, whether products run under autocast), as the runtime chooses them."""
    if config.float32:
        return 4, False
    if config.bfloat16 or config.float16:
        return 2, False
    if config.fp16:
        return (2 if config.adapter else 4), True
    if config.bf16 in (True, "full"):
        return 2, True
    if config.bf16 == "auto" and place.device == "cuda":
        return (2, True) if place.bf16 else ((2 if config.adapter else 4), True)
    if config.load_in_8bit and place.device == "cuda":
        return 2, False
    return 4, False


def _checkpointing(config: TrainingConfig) -> Checkpointing:
    if config.gradient_checkpointing in ("offload", "offload_disk") or (config.gradient_checkpointing and config.activation_offloading):
        return "offload"
    if config.gradient_checkpointing and config.selective_checkpointing:
        saved = getattr(config.selective_checkpointing, "save", None) or ("attention",)
        return "attention" if tuple(saved) == ("attention",) else "selective"
    fsdp = config.fsdp_config
    return "full" if config.gradient_checkpointing or (fsdp is not None and fsdp.activation_checkpointing) else "none"


def _attention(config: TrainingConfig) -> Attention:
    name = str(config.attn_implementation or "")
    if config.eager_attention or name == "eager":
        return "eager"
    if config.flash_attention or config.flex_attention or config.xformers_attention or name.startswith(("flash", "flex", "kernels")):
        return "flash"
    return "sdpa"


def _loss(config: TrainingConfig, place: Place, rl: str) -> Loss:
    if config.reward_model or config.process_reward_model or "Classification" in (config.type_of_model or ""):
        return "labels"
    if rl in GENERATING:
        return "fused" if config.trl is not None and config.trl.use_liger_loss else "policy"
    if config.cut_cross_entropy:
        return "cut"
    if config.liger_fused_linear_cross_entropy:
        return "fused"
    if config.chunked_cross_entropy:
        return "chunked"
    if config.liger_cross_entropy or config.unsloth_cross_entropy_loss:
        return "in-place"
    if place.device == "cuda" and _compiles(config) and not config.torch_compile_regional:
        return "compiled-outputs"
    # On GPUs three public series measured 14 bytes a logit, outputs kept or not; live tensors of the runtime's own steps on a CPU count 12.
    return "upcast" if place.device == "cuda" and not config.float32 else "dropped"


def _compiles(config: TrainingConfig) -> bool:
    return config.torch_compile in (True, "auto")


def _fused(config: TrainingConfig, place: Place) -> frozenset[Fused]:
    if place.device == "cpu":
        return frozenset()
    parts: dict[Fused, object] = {
        "norm": config.liger_rms_norm,
        "glu": config.liger_glu_activation,
        "lora_qkv": config.lora_qkv_kernel or config.unsloth_lora_qkv,
        "lora_o": config.lora_o_kernel or config.unsloth_lora_o,
        "lora_mlp": config.lora_mlp_kernel or config.unsloth_lora_mlp,
    }
    return frozenset(part for part, wanted in parts.items() if wanted)


def _mlp_pieces(config: TrainingConfig, facts: ModelFacts, sequence: int) -> int:
    if not config.tiled_mlp:
        return 1
    return int(config.tiled_mlp_num_shards or max(1, -(-sequence // facts.hidden)))


def _evaluated_length(config: TrainingConfig, sequence: int) -> int | None:
    """Longest row evaluated where the recipe sets it apart; it may be longer than those trained on."""
    named = config.eval_sequence_len
    if named is None or int(named) == int(config.sequence_len):
        return None
    # Rows split off from those trained on are no longer than those.
    return min(int(named), sequence) if sequence < int(config.sequence_len) and not config.test_datasets else int(named)


def _evaluates(config: TrainingConfig) -> bool:
    return bool(config.val_set_size or config.test_datasets) and config.eval_strategy != "no"
