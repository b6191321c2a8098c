"""Rules about spreading a model over devices: what FSDP and DeepSpeed do not go with."""

from __future__ import annotations

from collections.abc import Iterator

from runtime.config.finding import Finding, conflict
from runtime.config.given import given
from runtime.config.schema import TrainingConfig
from runtime.config.wishes import fsdp_option

LORA_KERNELS = ("lora_mlp_kernel", "lora_qkv_kernel", "lora_o_kernel", "lora_embedding_kernel")


def fsdp_version_of(config: TrainingConfig) -> int:
    """1 or 2; 2 when nothing is said, as in transformers."""
    inside = config.fsdp_config.fsdp_version if config.fsdp_config is not None else None
    return config.fsdp_version or inside or 2


def fsdp_version_said_once(config: TrainingConfig) -> Iterator[Finding]:
    """Both places of FSDP's version agree."""
    inside = config.fsdp_config.fsdp_version if config.fsdp_config is not None else None
    if inside and config.fsdp_version and inside != config.fsdp_version:
        message = f"'fsdp_version' is {config.fsdp_version}, and 'fsdp_config.fsdp_version' is {inside}"
        yield conflict(("fsdp_config", "fsdp_version"), message, "Keep the one outside.", "fsdp_version")


def fsdp_holds_small_states(config: TrainingConfig) -> Iterator[Finding]:
    """FSDP cuts optimizer states like weights; blocks of 8-bit numbers with their scales are no such tensors."""
    option, name = fsdp_option(config), str(config.optimizer or "")
    if option is None:
        return
    offloaded = config.fsdp_config is not None and config.fsdp_config.offload_params
    if offloaded and ("8bit" in name or "4bit" in name):
        message = f"the optimizer '{name}' keeps its state on the GPU, and FSDP's offload_params keeps the weights off it"
        yield conflict(("optimizer",), message, "Write `optimizer: adamw_torch_fused`, or remove offload_params.", option)
    elif name in ("adamw_8bit", "adamw_bnb_8bit") and fsdp_version_of(config) == 2:
        message = f"FSDP2 cannot shard the state of the optimizer '{name}'"
        yield conflict(("optimizer",), message, "Write `optimizer: adamw_torch_8bit`.", option, "fsdp_version")


def fsdp_shards_one_format(config: TrainingConfig) -> Iterator[Finding]:
    """bitsandbytes' 8-bit weights are no tensors that FSDP can join; 4-bit ones travel as 16-bit numbers."""
    option = fsdp_option(config)
    if option is not None and config.load_in_8bit:
        message = f"'{option}' cannot shard a base in 8 bit"
        yield conflict(("load_in_8bit",), message, "Write `adapter: qlora` and `load_in_4bit: true`.", option)


def pinned_memory_is_used(config: TrainingConfig) -> Iterator[Finding]:
    """Whether offloaded shards are page-locked matters where shards are offloaded, and can be said in FSDP2 only."""
    section = config.fsdp_config
    if section is None or section.cpu_offload_pin_memory is not False:
        return
    path = ("fsdp_config", "cpu_offload_pin_memory")
    if fsdp_version_of(config) != 2:
        yield conflict(path, "FSDP1 always page-locks offloaded shards", "Write `fsdp_version: 2`, or remove it.", "fsdp_version")
    elif not section.offload_params:
        yield conflict(
            path, "'cpu_offload_pin_memory' belongs to 'offload_params', which is off", "Add `offload_params: true`, or remove it."
        )


def fsdp2_quantized_preferences(config: TrainingConfig) -> Iterator[Finding]:
    """Preference methods under FSDP2 want a base in 16 bit."""
    option = fsdp_option(config)
    if option is None or fsdp_version_of(config) != 2 or config.rl not in ("dpo", "kto", "orpo", "ipo"):
        return
    if config.load_in_4bit:
        message = f"FSDP2 does not go with `load_in_4bit: true` under `rl: {config.rl}`"
        yield conflict(("load_in_4bit",), message, "Write `fsdp_version: 1`, or use DeepSpeed.", option, "rl", "fsdp_version")


def fsdp1_without_lora_kernels(config: TrainingConfig) -> Iterator[Finding]:
    """FSDP1 flattens the matrices that fused LoRA reads."""
    option = fsdp_option(config)
    if option is not None and fsdp_version_of(config) == 1:
        for name in LORA_KERNELS:
            if given(config, name):
                yield conflict(
                    (name,), f"'{name}' does not go with FSDP1", "Write `fsdp_version: 2`, or remove it.", option, "fsdp_version"
                )


def muon_sees_matrices(config: TrainingConfig) -> Iterator[Finding]:
    """Muon works on whole matrices, which FSDP1 and DeepSpeed flatten."""
    if config.optimizer != "muon":
        return
    if config.deepspeed:
        yield conflict(
            ("optimizer",),
            "`optimizer: muon` needs whole matrices, which DeepSpeed flattens",
            "Use FSDP with `fsdp_version: 2`.",
            "deepspeed",
        )
    elif fsdp_option(config) is not None and fsdp_version_of(config) == 1:
        yield conflict(
            ("optimizer",), "`optimizer: muon` needs whole matrices, which FSDP1 flattens", "Write `fsdp_version: 2`.", "fsdp_version"
        )


def gathered_in_fp8_by_fsdp2(config: TrainingConfig) -> Iterator[Finding]:
    """Gathering in 8 bit is FSDP2's."""
    if not given(config, "fp8_enable_fsdp_float8_all_gather") or not config.fp8:
        return
    if fsdp_option(config) is None or fsdp_version_of(config) != 2:
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
    if (config.dp_shard_size or 1) > 1 and fsdp_option(config) is None and not config.deepspeed:
        message = f"'dp_shard_size: {config.dp_shard_size}' needs 'fsdp_config': nothing shards the model"
        yield Finding(
            code="missing",
            path=("fsdp_config",),
            involves=("dp_shard_size",),
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
    fsdp_holds_small_states,
    fsdp_shards_one_format,
    pinned_memory_is_used,
    fsdp2_quantized_preferences,
    fsdp1_without_lora_kernels,
    muon_sees_matrices,
    gathered_in_fp8_by_fsdp2,
    deepcompile_has_deepspeed,
    shards_have_fsdp,
    sharded_loading_shards,
    mxfp4_read_by_all,
    recomputed_with_zero3,
)
