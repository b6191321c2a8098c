"""Rules about number formats, attention and memory."""

from __future__ import annotations

from collections.abc import Iterator

from runtime.config.finding import Finding
from runtime.config.given import given
from runtime.config.schema import TrainingConfig
from runtime.config.wishes import ATTENTION_FLAGS


def attention_said_once(config: TrainingConfig) -> Iterator[Finding]:
    """The short flags and `attn_implementation` agree."""
    chosen = config.attn_implementation
    for flag, name in ATTENTION_FLAGS.items():
        # Every version of flash attention, as a package or as a kernel from the Hub, is flash attention.
        same = chosen == name or (flag == "flash_attention" and "flash" in str(chosen))
        if chosen is not None and given(config, flag) and not same:
            message = f"'{flag}' means `attn_implementation: {name}`, and attn_implementation is '{chosen}'"
            yield Finding(code="conflict", path=(flag,), involves=("attn_implementation",), message=message, fix=f"Remove '{flag}'.")


def checkpointing_settings_used(config: TrainingConfig) -> Iterator[Finding]:
    """Settings of checkpointing have checkpointing."""
    if given(config, "gradient_checkpointing_kwargs") and not config.gradient_checkpointing:
        message = "'gradient_checkpointing_kwargs' has no effect without `gradient_checkpointing: true`"
        yield Finding(
            code="conflict",
            path=("gradient_checkpointing_kwargs",),
            involves=("gradient_checkpointing",),
            message=message,
            fix="Turn it on, or remove them.",
            warning=True,
        )


def flex_settings_have_flex(config: TrainingConfig) -> Iterator[Finding]:
    """What says how flex attention is compiled stands beside flex attention."""
    if given(config, "flex_attn_compile_kwargs") and not config.flex_attention and config.attn_implementation != "flex_attention":
        yield Finding(
            code="conflict",
            path=("flex_attn_compile_kwargs",),
            involves=("flex_attention",),
            message="'flex_attn_compile_kwargs' needs `flex_attention: true`",
            fix="Add it, or remove them.",
        )


def selective_needs_plain_checkpointing(config: TrainingConfig) -> Iterator[Finding]:
    """Choosing what is kept belongs to checkpointing of the kind that lets one choose."""
    if not given(config, "selective_checkpointing"):
        return
    if not config.gradient_checkpointing:
        message = "'selective_checkpointing' needs `gradient_checkpointing: true`"
        yield Finding(
            code="missing", path=("gradient_checkpointing",), involves=("selective_checkpointing",), message=message, fix="Add it."
        )
    elif (config.gradient_checkpointing_kwargs or {}).get("use_reentrant"):
        yield Finding(
            code="conflict",
            path=("gradient_checkpointing_kwargs",),
            involves=("selective_checkpointing",),
            message="'selective_checkpointing' needs checkpointing that is not re-entrant",
            fix="Remove `use_reentrant: true`.",
        )
    if config.activation_offloading is True:
        yield Finding(
            code="conflict",
            path=("activation_offloading",),
            involves=("selective_checkpointing",),
            message="`activation_offloading: true` and 'selective_checkpointing' both take over what waits for the backward pass",
            fix="Use `activation_offloading: hidden_states`, which moves the inputs of layers alone.",
        )


def offloading_said_once(config: TrainingConfig) -> Iterator[Finding]:
    """Checkpointing and offloading name one place."""
    places = {"offload": ("legacy", "hidden_states"), "offload_disk": ("disk",)}.get(str(config.gradient_checkpointing))
    if places and given(config, "activation_offloading") and config.activation_offloading not in places:
        where = str(config.activation_offloading).lower()
        yield Finding(
            code="conflict",
            path=("activation_offloading",),
            involves=("gradient_checkpointing",),
            message=f"`gradient_checkpointing: {config.gradient_checkpointing}` and `activation_offloading: {where}` name two places",
            fix="Keep one of them, with `gradient_checkpointing: true` beside the second.",
        )


def offloading_needs_checkpointing(config: TrainingConfig) -> Iterator[Finding]:
    """Activations are moved away at checkpoints."""
    if given(config, "activation_offloading") and not config.gradient_checkpointing:
        message = "'activation_offloading' needs `gradient_checkpointing: true`"
        yield Finding(code="missing", path=("gradient_checkpointing",), involves=("activation_offloading",), message=message, fix="Add it.")


def watchdog_complete(config: TrainingConfig) -> Iterator[Finding]:
    """The loss watchdog has a threshold."""
    if given(config, "loss_watchdog_patience") and config.loss_watchdog_threshold is None:
        message = "'loss_watchdog_patience' has no effect without 'loss_watchdog_threshold'"
        yield Finding(
            code="conflict",
            path=("loss_watchdog_patience",),
            involves=("loss_watchdog_threshold",),
            message=message,
            fix="Set the threshold, about twice the first loss, or remove it.",
            warning=True,
        )


def memory_limit_has_map(config: TrainingConfig) -> Iterator[Finding]:
    """Limits of memory are looked at only while layers are placed."""
    if given(config, "max_memory") and config.device_map is None:
        yield Finding(
            code="missing",
            path=("device_map",),
            involves=("max_memory",),
            message="'max_memory' needs a 'device_map'",
            fix="Add `device_map: auto`.",
        )


def fp8_gather_has_fp8(config: TrainingConfig) -> Iterator[Finding]:
    """Gathering in 8 bit belongs to training in 8 bit."""
    if given(config, "fp8_enable_fsdp_float8_all_gather") and not config.fp8:
        yield Finding(
            code="missing",
            path=("fp8",),
            involves=("fp8_enable_fsdp_float8_all_gather",),
            message="'fp8_enable_fsdp_float8_all_gather' needs `fp8: true`",
            fix="Add it, or remove the other.",
        )


RULES = (
    attention_said_once,
    checkpointing_settings_used,
    flex_settings_have_flex,
    selective_needs_plain_checkpointing,
    offloading_said_once,
    offloading_needs_checkpointing,
    watchdog_complete,
    memory_limit_has_map,
    fp8_gather_has_fp8,
)
