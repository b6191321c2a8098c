"""Rules about adapters and quantized bases."""

from __future__ import annotations

import re
from collections.abc import Iterator

from runtime.config.finding import Finding
from runtime.config.given import given
from runtime.config.schema import TrainingConfig

LORA_ONLY = (
    "lora_r",
    "lora_alpha",
    "lora_dropout",
    "lora_target_modules",
    "lora_target_linear",
    "lora_target_parameters",
    "lora_modules_to_save",
    "lora_fan_in_fan_out",
    "lora_rank_pattern",
    "lora_alpha_pattern",
    "lora_model_dir",
    "loraplus_lr_ratio",
    "peft_use_dora",
    "peft_use_rslora",
    "peft_layers_to_transform",
    "peft_layers_pattern",
    "peft_layer_replication",
    "peft_init_lora_weights",
    "peft_trainable_token_indices",
    "relora",
    "lora_fp32_gradients",
    "lora_mlp_kernel",
    "lora_qkv_kernel",
    "lora_o_kernel",
)

# The linear layers of a block in Llama and the many models that are built like it.
_ALL_LINEAR = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}

# Optimizers whose averages are tensors of the parameter's own shape.
PRUNABLE = ("adamw_torch", "adamw_torch_fused", "optimi_adamw", "stable_adamw", "lion_pytorch", "adopt_adamw", "sgd", "adagrad", "rmsprop")


def qlora_is_four_bit(config: TrainingConfig) -> Iterator[Finding]:
    """QLoRA is LoRA on a base in 4 bit."""
    if config.adapter == "qlora" and not config.load_in_4bit and not config.gptq:
        if config.load_in_8bit:
            yield Finding(
                code="conflict",
                path=("load_in_8bit",),
                involves=("adapter", "load_in_4bit"),
                message="`adapter: qlora` holds the base in 4 bit, not in 8",
                fix="Write `load_in_4bit: true`, or `adapter: lora`.",
            )
        else:
            yield Finding(
                code="missing",
                path=("load_in_4bit",),
                involves=("adapter",),
                message="`adapter: qlora` needs `load_in_4bit: true`",
                fix="Add it, or write `adapter: lora` for a base in 16 bit.",
            )


def quantized_needs_adapter(config: TrainingConfig) -> Iterator[Finding]:
    """Weights in 4 or 8 bit cannot be trained themselves."""
    if config.adapter is None:
        for name in ("load_in_4bit", "load_in_8bit", "gptq"):
            if given(config, name):
                yield Finding(
                    code="missing",
                    path=("adapter",),
                    involves=(name,),
                    message=f"`{name}: true` needs an adapter: quantized weights cannot be trained themselves",
                    fix="Add `adapter: qlora` (4 bit) or `adapter: lora` (8 bit).",
                )


def lora_has_size(config: TrainingConfig) -> Iterator[Finding]:
    """A new adapter has a rank and an alpha."""
    if config.adapter in ("lora", "qlora") and not config.lora_model_dir:
        for name, usual in (("lora_r", 16), ("lora_alpha", 32)):
            if getattr(config, name) is None:
                yield Finding(
                    code="missing",
                    path=(name,),
                    involves=("adapter",),
                    message=f"`adapter: {config.adapter}` needs '{name}'",
                    fix=f"{usual} is a good start.",
                )


def lora_has_targets(config: TrainingConfig) -> Iterator[Finding]:
    """A new adapter says which layers it changes."""
    if config.adapter in ("lora", "qlora") and not (
        config.lora_model_dir or config.lora_target_linear or config.lora_target_modules or config.lora_target_parameters
    ):
        message = f"`adapter: {config.adapter}` needs to know which layers it changes"
        yield Finding(
            code="missing",
            path=("lora_target_linear",),
            involves=("adapter", "lora_target_modules", "lora_target_parameters"),
            message=message,
            fix="Add `lora_target_linear: true`, or list `lora_target_modules`.",
        )


def lora_targets_said_once(config: TrainingConfig) -> Iterator[Finding]:
    """Every linear layer already includes the named ones, but for the output layer and embeddings."""
    named = config.lora_target_modules
    # Who lists them all says the same twice, and means no less by the list.
    all_named = isinstance(named, list) and set(named) >= _ALL_LINEAR
    if config.lora_target_linear and named and named not in ("linear", "all-linear") and not all_named:
        message = "'lora_target_linear' targets every linear layer of the blocks, so listing some of them in 'lora_target_modules' changes nothing"
        yield Finding(
            code="conflict",
            path=("lora_target_modules",),
            involves=("lora_target_linear",),
            message=message,
            fix="Keep the list alone to train only those layers; only the output layer and embeddings are worth naming besides.",
            warning=True,
        )


def lora_settings_used(config: TrainingConfig) -> Iterator[Finding]:
    """Settings of an adapter have an adapter."""
    if config.adapter is None:
        named = [name for name in LORA_ONLY if given(config, name)]
        if "lora_model_dir" in named:
            named = ["lora_model_dir"]
        for name in named[:1]:
            others = f" (nor have {', '.join(named[1:])})" if named[1:] else ""
            yield Finding(
                code="conflict",
                path=(name,),
                involves=("adapter",),
                message=f"'{name}' has no effect{others}: no adapter is set, so the whole model trains",
                fix="Add `adapter: lora`, or remove what belongs to it.",
                warning=name != "lora_model_dir",
            )


def layers_of_named_modules(config: TrainingConfig) -> Iterator[Finding]:
    """peft picks layers only among modules given as a list."""
    if config.peft_layers_to_transform is not None and (config.lora_target_linear or isinstance(config.lora_target_modules, str)):
        message = "'peft_layers_to_transform' works with a list of module names only"
        yield Finding(
            code="conflict",
            path=("peft_layers_to_transform",),
            involves=("lora_target_modules", "lora_target_linear"),
            message=message,
            fix="List the modules under `lora_target_modules`.",
        )
    if config.peft_layers_pattern is not None and config.peft_layers_to_transform is None:
        message = "'peft_layers_pattern' needs 'peft_layers_to_transform'"
        yield Finding(
            code="missing", path=("peft_layers_to_transform",), involves=("peft_layers_pattern",), message=message, fix="Say which layers."
        )


def lora_plus_complete(config: TrainingConfig) -> Iterator[Finding]:
    """LoRA+ is turned on by its ratio."""
    if "loraplus_lr_embedding" in config.model_fields_set and config.loraplus_lr_ratio is None:
        message = "'loraplus_lr_embedding' has no effect without 'loraplus_lr_ratio'"
        yield Finding(
            code="conflict",
            path=("loraplus_lr_embedding",),
            involves=("loraplus_lr_ratio",),
            message=message,
            fix="Set the ratio, 16 is usual, or remove it.",
            warning=True,
        )


def relora_complete(config: TrainingConfig) -> Iterator[Finding]:
    """ReLoRA restarts an adapter every so often."""
    if config.relora and config.adapter is None:
        yield Finding(
            code="missing", path=("adapter",), involves=("relora",), message="`relora: true` needs an adapter", fix="Add `adapter: lora`."
        )
    if config.relora and config.jagged_restart_steps is None:
        yield Finding(
            code="missing",
            path=("jagged_restart_steps",),
            involves=("relora",),
            message="`relora: true` needs 'jagged_restart_steps'",
            fix="Say after how many steps a new adapter starts.",
        )


def relora_possible(config: TrainingConfig) -> Iterator[Finding]:
    """ReLoRA merges a plain LoRA into weights that can take it."""
    if not config.relora:
        return
    reasons = {
        "load_in_4bit": "merging into 4-bit weights rounds them anew at every restart and loses what was learned",
        "load_in_8bit": "merging into 8-bit weights rounds them anew at every restart and loses what was learned",
        "gptq": "merging into 4-bit weights rounds them anew at every restart and loses what was learned",
        "peft_use_dora": "a restart starts plain LoRA matrices, not DoRA's magnitudes",
        "lora_target_parameters": "a restart merges into linear layers and embeddings, not into bare parameters",
        "peft_layer_replication": "copies of a layer share one weight, and each would merge its own adapter into it",
    }
    for name, why in reasons.items():
        if given(config, name):
            yield Finding(
                code="conflict",
                path=(name,),
                involves=("relora",),
                message=f"`relora: true` excludes '{name}': {why}",
                fix="Keep one of the two.",
            )
    if config.peft_init_lora_weights not in (None, True):
        yield Finding(
            code="conflict",
            path=("peft_init_lora_weights",),
            involves=("relora",),
            message="`relora: true` starts every adapter in the usual way, with a second matrix of zeros",
            fix="Remove it.",
        )
    if config.relora_prune_method != "reset" and config.optimizer not in PRUNABLE:
        yield Finding(
            code="conflict",
            path=("relora_prune_method",),
            involves=("optimizer", "relora"),
            message=f"pruning by '{config.relora_prune_method or 'magnitude'}' needs an optimizer that keeps its state in full, and '{config.optimizer}' does not",
            fix="Write `relora_prune_method: reset`, or `optimizer: adamw_torch_fused`.",
        )
    if config.relora_prune_method == "reset" and config.relora_prune_ratio is not None and config.optimizer not in PRUNABLE:
        yield Finding(
            code="conflict",
            path=("relora_prune_ratio",),
            involves=("optimizer", "relora_prune_method"),
            message=f"forgetting a share of its state needs an optimizer that keeps it in full, and '{config.optimizer}' does not",
            fix="Remove the ratio: all of it is forgotten then.",
        )


def relora_settings_used(config: TrainingConfig) -> Iterator[Finding]:
    """Settings of ReLoRA have ReLoRA."""
    for name in ("relora_prune_ratio", "relora_prune_method", "relora_cpu_offload"):
        if given(config, name) and not config.relora:
            yield Finding(
                code="conflict",
                path=(name,),
                involves=("relora",),
                message=f"'{name}' has no effect without `relora: true`",
                fix="Add it, or remove the setting.",
                warning=True,
            )


def full_gradients_unsharded(config: TrainingConfig) -> Iterator[Finding]:
    """Sharding frameworks choose the format of gradients themselves."""
    for name in ("fsdp", "fsdp_config", "deepspeed"):
        if config.lora_fp32_gradients and given(config, name):
            yield Finding(
                code="conflict",
                path=("lora_fp32_gradients",),
                involves=(name,),
                message=f"`lora_fp32_gradients: true` has no hold under '{name}', which chooses the format of gradients itself",
                fix="Remove it, or train without sharding.",
            )
            return


def fused_kernels_without_dropout(config: TrainingConfig) -> Iterator[Finding]:
    """Fused LoRA kernels know no dropout."""
    for name in ("lora_mlp_kernel", "lora_qkv_kernel", "lora_o_kernel", "lora_embedding_kernel"):
        if given(config, name) and config.lora_dropout:
            yield Finding(
                code="conflict",
                path=(name,),
                involves=("lora_dropout",),
                message=f"'{name}' needs `lora_dropout: 0`, found {config.lora_dropout}",
                fix="Set lora_dropout to 0, or remove the kernel.",
            )


def unfrozen_patterns_read(config: TrainingConfig) -> Iterator[Finding]:
    """Patterns of trained parameters are regular expressions of whole names."""
    for index, pattern in enumerate(config.unfrozen_parameters or ()):
        path = ("unfrozen_parameters", index)
        rows = re.search(r"\[(\d*):(\d*)\]$", pattern)
        if rows is not None and (given(config, "fsdp") or given(config, "fsdp_config") or given(config, "deepspeed")):
            yield Finding(
                code="conflict",
                path=path,
                involves=("fsdp", "fsdp_config", "deepspeed"),
                message=f"the range of rows in '{pattern}' cannot be kept apart where parameters are spread over devices",
                fix="Name the whole parameter, or train without sharding.",
            )
        if rows is not None and rows[2] and int(rows[1] or 0) >= int(rows[2]):
            yield Finding(
                code="out-of-range",
                path=path,
                message=f"the range at the end of '{pattern}' holds no row",
                fix="The first row is 0, and the end is not included: `[:32000]` means rows 0 to 31999.",
            )
        try:
            re.compile(pattern if rows is None else pattern[: rows.start()])
        except re.error as error:
            yield Finding(
                code="wrong-type",
                path=path,
                message=f"unfrozen_parameters[{index}] is no regular expression: {error}",
                fix="Put a backslash before special characters.",
            )


RULES = (
    qlora_is_four_bit,
    quantized_needs_adapter,
    lora_has_size,
    lora_has_targets,
    lora_targets_said_once,
    lora_settings_used,
    layers_of_named_modules,
    lora_plus_complete,
    relora_complete,
    relora_possible,
    relora_settings_used,
    full_gradients_unsharded,
    fused_kernels_without_dropout,
    unfrozen_patterns_read,
)
