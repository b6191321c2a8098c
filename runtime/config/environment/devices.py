"""Rules about what a kind of GPU, or a machine without any, can compute."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from runtime.config.environment.finding import found
from runtime.config.environment.machine import Machine, shown
from runtime.config.finding import Finding
from runtime.config.schema import TrainingConfig
from runtime.config.wishes import attention_of, bnb_optimizer, fsdp_option, liger, offloads

# Which option asks for it, or None where none does.
Wish = Callable[[TrainingConfig], str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What an option needs: a GPU at all, of a compute capability or newer (None: any)."""

    what: str
    asks: Wish
    capability: tuple[int, int] | None
    fix: str
    gpu_only: bool = False


def _option(name: str, *values: object) -> Wish:
    def asks(config: TrainingConfig) -> str | None:
        value = getattr(config, name)
        return name if (value in values if values else value and value != "auto") else None

    return asks


def _attention(name: str) -> Wish:
    def asks(config: TrainingConfig) -> str | None:
        option, chosen = attention_of(config)
        return option if chosen == name else None

    return asks


def _mxfp4(config: TrainingConfig) -> str | None:
    kept = config.model_quantization_config == "Mxfp4Config" and not (config.model_quantization_config_kwargs or {}).get("dequantize")
    return "model_quantization_config" if kept else None


def _offloaded(config: TrainingConfig) -> str | None:
    option = fsdp_option(config)
    return option if option is not None and offloads(config) else None


_SDPA = "Write `attn_implementation: sdpa`, which runs everywhere."
_PLAIN = "without GPUs every process holds the whole model."

# Sources, November 2026. Number formats: NVIDIA's CUDA programming guide, table of arithmetic by compute capability. Attention: the table in
# transformers.modeling_flash_attention_utils (5.23); SageAttention's and torchao's READMEs. int8 products and 4-bit weights: the installation guide of
# bitsandbytes 0.50, which also computes on a CPU. mxfp4: transformers.quantizers.quantizer_mxfp4. torch.compile, flex attention and Liger's kernels
# go through Triton, which torch refuses below 7.0 (torch.utils._triton); the cut-cross-entropy package asks for Ampere in its README.
NEEDS = (
    Need(what="bf16", asks=_option("bf16", True, "full"), capability=(8, 0), fix="Write `bf16: auto`, or `fp16: true`."),
    Need(what="bfloat16", asks=_option("bfloat16", True), capability=(8, 0), fix="Write `fp16: true`, or `float32: true`."),
    Need(what="fp16", asks=_option("fp16", True), capability=None, gpu_only=True, fix="Write `bf16: auto`, which is 32 bit without a GPU."),
    Need(what="tf32", asks=_option("tf32", True), capability=(8, 0), gpu_only=True, fix="Write `tf32: auto`, or leave it out."),
    Need(what="fp8", asks=_option("fp8"), capability=(8, 9), gpu_only=True, fix="Write `bf16: auto` instead."),
    Need(what="torch.compile", asks=_option("torch_compile", True), capability=(7, 0), fix="Leave torch_compile out."),
    Need(what="flash_attention_2", asks=_attention("flash_attention_2"), capability=(8, 0), gpu_only=True, fix=_SDPA),
    Need(what="flash_attention_3", asks=_attention("flash_attention_3"), capability=(8, 0), gpu_only=True, fix=_SDPA),
    Need(what="flash_attention_4", asks=_attention("flash_attention_4"), capability=(9, 0), gpu_only=True, fix=_SDPA),
    Need(what="flex_attention", asks=_attention("flex_attention"), capability=(7, 0), gpu_only=True, fix=_SDPA),
    Need(what="SageAttention", asks=_attention("sage"), capability=(8, 0), gpu_only=True, fix=_SDPA),
    Need(what="attention in fp8", asks=_attention("fp8"), capability=(9, 0), gpu_only=True, fix=_SDPA),
    Need(what="xformers", asks=_attention("xformers"), capability=None, gpu_only=True, fix=_SDPA),
    Need(what="a base in 8 bit", asks=_option("load_in_8bit"), capability=(7, 5), fix="Write `load_in_4bit: true` and `adapter: qlora`."),
    Need(what="a base in 4 bit", asks=_option("load_in_4bit"), capability=(6, 0), fix="Take a newer GPU."),
    Need(what="bitsandbytes' optimizer", asks=bnb_optimizer, capability=(6, 0), fix="Write `optimizer: adamw_torch_fused`."),
    Need(what="a base in mxfp4", asks=_mxfp4, capability=(7, 5), fix="Write `model_quantization_config_kwargs: {dequantize: true}`."),
    Need(what="Liger's kernels", asks=liger, capability=(7, 0), gpu_only=True, fix="Leave the liger_* options out."),
    Need(
        what="cut cross entropy",
        asks=_option("cut_cross_entropy"),
        capability=(8, 0),
        gpu_only=True,
        fix="Write `chunked_cross_entropy: true` instead.",
    ),
    Need(
        what="activation_offloading",
        asks=lambda config: "activation_offloading" if config.activation_offloading not in (None, False, "disk") else None,
        capability=None,
        gpu_only=True,
        fix="Remove it, or write `activation_offloading: disk`.",
    ),
    Need(
        what="gradient_checkpointing: offload",
        asks=_option("gradient_checkpointing", "offload"),
        capability=None,
        gpu_only=True,
        fix="Write true, or offload_disk.",
    ),
    Need(what="gpu_memory_limit", asks=_option("gpu_memory_limit"), capability=None, gpu_only=True, fix="Write `max_memory` instead."),
    Need(what="use_kernels", asks=_option("use_kernels"), capability=None, gpu_only=True, fix="Remove it: the Hub's kernels are for GPUs."),
    Need(
        what="sync_profiler_steps",
        asks=_option("sync_profiler_steps"),
        capability=None,
        gpu_only=True,
        fix="Remove it: it finds where the host waits for a GPU.",
    ),
    Need(
        what="offloading FSDP's shards",
        asks=_offloaded,
        capability=None,
        gpu_only=True,
        fix="Remove offload_params: the shards are in host memory.",
    ),
    Need(what="DeepSpeed", asks=_option("deepspeed"), capability=None, gpu_only=True, fix=f"Remove it: {_PLAIN}"),
)


def device_is_able(config: TrainingConfig, machine: Machine) -> Iterator[Finding]:
    """The machine has a GPU where one is needed, and one that is new enough."""
    for need in NEEDS:
        option = need.asks(config)
        if option is None:
            continue
        newer = f" of compute capability {shown(need.capability)} or above" if need.capability is not None else ""
        if machine.gpu is None and need.gpu_only:
            kind = "an NVIDIA GPU" if newer else "a GPU"
            yield found(option, f"{need.what} needs {kind}{newer}, and this run is on {machine}", need.fix)
        elif need.capability is not None and machine.lacks(need.capability):
            yield found(option, f"{need.what} needs a GPU{newer}, and this run is on {machine}", need.fix)


def half_where_bf16_is(config: TrainingConfig, machine: Machine) -> Iterator[Finding]:
    """fp16 is for GPUs without bf16."""
    if config.fp16 is True and machine.has((8, 0)):
        message = f"{machine.gpu} computes in bf16, which has the range of 32 bit and needs no scaling of the loss; fp16 may overflow"
        yield found("fp16", message, "Write `bf16: auto` instead of fp16.", warning=True)


def slow_full_precision(config: TrainingConfig, machine: Machine) -> Iterator[Finding]:
    """Turning both 16-bit formats off on a GPU computes everything in 32 bit."""
    half = config.fp16 or config.bfloat16 or config.float16
    if config.bf16 is False and not half and not config.float32 and not config.fp8 and machine.has((8, 0)):
        message = f"`bf16: false` computes in 32 bit, several times slower than {machine.gpu} can; it also takes twice the memory"
        yield found("bf16", message, "Write `bf16: auto`; or `float32: true` if 32 bit is meant.", warning=True)


RULES = (device_is_able, half_where_bf16_is, slow_full_precision)
