"""Rules about spreading a model over devices: what FSDP and DeepSpeed do not go with."""

from __future__ import annotations

from collections.abc import Iterator

from runtime.config.finding import Finding, conflict
from runtime.config.given import given
from runtime.config.schema import TrainingConfig
from runtime.config.wishes import fsdp_option


def fsdp_version_said_once(config: TrainingConfig) -> Iterator[Finding]:
    """Both places of FSDP's version agree."""
    inside = config.fsdp_config.fsdp_version if config.fsdp_config is not None else None
    if inside and config.fsdp_version and inside != config.fsdp_version:
        message = f"'fsdp_version' is {config.fsdp_version}, and 'fsdp_config.fsdp_version' is {inside}"
        yield conflict(("fsdp_config", "fsdp_version"), message, "Keep the one outside.", "fsdp_version")


def fsdp_shards_one_format(config: TrainingConfig) -> Iterator[Finding]:
    """bitsandbytes' 8-bit weights are no tensors that FSDP can join; 4-bit ones travel as 16-bit numbers."""
    option = fsdp_option(config)
    if option is not None and config.load_in_8bit:
        message = f"'{option}' cannot shard a base in 8 bit"
        yield conflict(("load_in_8bit",), message, "Write `adapter: qlora` and `load_in_4bit: true`.", option)


def pinned_memory_is_used(config: TrainingConfig) -> Iterator[Finding]:
    """Whether offloaded shards are page-locked matters where shards are offloaded."""
    section = config.fsdp_config
    if section is None or section.cpu_offload_pin_memory is not False:
        return
    if not section.offload_params:
        yield conflict(
            ("fsdp_config", "cpu_offload_pin_memory"),
            "'cpu_offload_pin_memory' belongs to 'offload_params', which is off",
            "Add `offload_params: true`, or remove it.",
        )


def fsdp2_quantized_preferences(config: TrainingConfig) -> Iterator[Finding]:
    """Preference methods under FSDP2 want a base in 16 bit."""
    option = fsdp_option(config)
    if option is not None and config.rl in ("dpo", "kto", "orpo", "ipo") and config.load_in_4bit:
        message = f"FSDP2 does not go with `load_in_4bit: true` under `rl: {config.rl}`"
        yield conflict(("load_in_4bit",), message, "Write `load_in_4bit: false`, or train on one GPU.", option, "rl")


def muon_sees_matrices(config: TrainingConfig) -> Iterator[Finding]:
    """Muon works on whole matrices, which DeepSpeed flattens."""
    if config.optimizer == "muon" and config.deepspeed:
        yield conflict(
            ("optimizer",),
            "`optimizer: muon` needs whole matrices, which DeepSpeed flattens",
            "Use FSDP with `fsdp_version: 2`.",
            "deepspeed",
        )


def gathered_in_fp8_by_fsdp2(config: TrainingConfig) -> Iterator[Finding]:
    """Gathering in 8 bit is FSDP2's."""
    if not given(config, "fp8_enable_fsdp_float8_all_gather") or not config.fp8:
        return
    if fsdp_option(config) is None:
        message = "'fp8_enable_fsdp_float8_all_gather' needs FSDP2, which gathers the weights"
        yield conflict(
            ("fp8_enable_fsdp_float8_all_gather",),
            message,
            "Add `fsdp_version: 2` and `fsdp_config`, or remove it.",
            "fsdp_config",
            "fsdp_version",
        )


def deepcompile_has_deepspeed(config: TrainingConfig) -> Iterator[Finding]:
    """DeepSpeed's compiler comes with DeepSpeed."""
    if config.deepcompile and not config.deepspeed:
        yield Finding(
            code="missing",
            path=("deepspeed",),
            involves=("deepcompile",),
            message="'deepcompile' needs 'deepspeed'",
            fix="Add `deepspeed: zero3`.",
        )


def shards_have_fsdp(config: TrainingConfig) -> Iterator[Finding]:
    """A number of shards needs something that shards."""
    name = next((name for name in ("dp_shard_size", "dp_replicate_size") if (getattr(config, name) or 1) > 1), None)
    if name is not None and fsdp_option(config) is None and not config.deepspeed:
        message = f"'{name}: {getattr(config, name)}' needs 'fsdp_config': nothing shards the model"
        yield Finding(
            code="missing",
            path=("fsdp_config",),
            involves=(name,),
            message=message,
            fix="Add `fsdp_version: 2` and `fsdp_config`.",
        )


def sharded_loading_shards(config: TrainingConfig) -> Iterator[Finding]:
    """Loading shard by shard is for FSDP over a 4-bit base."""
    if config.qlora_sharded_model_loading and (fsdp_option(config) is None or not config.load_in_4bit):
        message = "'qlora_sharded_model_loading' needs FSDP and a base in 4 bit"
        yield conflict(
            ("qlora_sharded_model_loading",),
            message,
            "Remove it, or add `fsdp_config` and `load_in_4bit: true`.",
            "fsdp_config",
            "load_in_4bit",
        )


def mxfp4_read_by_all(config: TrainingConfig) -> Iterator[Finding]:
    """Packed mxfp4 weights cannot be sent from the one process that read them."""
    section = config.fsdp_config
    if config.model_quantization_config == "Mxfp4Config" and section is not None and section.cpu_ram_efficient_loading:
        message = "'cpu_ram_efficient_loading' cannot send weights in mxfp4 to the other processes"
        yield conflict(("fsdp_config", "cpu_ram_efficient_loading"), message, "Write false.", "model_quantization_config")


def recomputed_with_zero3(config: TrainingConfig) -> Iterator[Finding]:
    """ZeRO-3 frees gathered weights between the two forward passes of checkpointing."""
    kwargs = config.gradient_checkpointing_kwargs or {}
    if config.adapter == "qlora" and kwargs.get("use_reentrant") is False and "zero3" in str(config.deepspeed or ""):
        message = "QLoRA under DeepSpeed's ZeRO-3 may fail with `use_reentrant: false`: what is computed again differs in its description"
        yield conflict(("gradient_checkpointing_kwargs",), message, "Write `use_reentrant: true`.", "deepspeed", "adapter", warning=True)


RULES = (
    fsdp_version_said_once,
    fsdp_shards_one_format,
    pinned_memory_is_used,
    fsdp2_quantized_preferences,
    muon_sees_matrices,
    gathered_in_fp8_by_fsdp2,
    deepcompile_has_deepspeed,
    shards_have_fsdp,
    sharded_loading_shards,
    mxfp4_read_by_all,
    recomputed_with_zero3,
)
