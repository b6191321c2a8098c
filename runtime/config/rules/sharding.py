"""Rules about FSDP2: how its settings are written, and what does not work on shards."""

from __future__ import annotations

from collections.abc import Iterator

from runtime.config.finding import Finding, conflict
from runtime.config.given import given
from runtime.config.schema import TrainingConfig
from runtime.config.wishes import fsdp_option

# Those that stepped over shards as over whole tensors (torch 2.13, two processes). The others keep states of another shape, blocks of numbers with
# their scales, or kernels of their own, which know nothing of shards.
OPTIMIZERS = frozenset(("adamw_torch", "adamw_torch_fused", "sgd", "adagrad", "rmsprop", "muon"))
FORMATS = ("bf16", "fp16", "fp32")
# What cannot be done where every process holds a part of each tensor: the option, the reason and what to write instead.
APART = {
    "auto_find_batch_size": (
        "a process that ran out of memory would leave the others waiting for its shards",
        "Lower micro_batch_size instead.",
    ),
    "gpu_memory_limit": ("shards are placed by their number", "Remove it."),
    "max_memory": ("shards are placed by their number", "Remove it."),
    "activation_offloading": ("it would move gathered weights too", "Write `gradient_checkpointing: offload`."),
    "liger_fused_linear_cross_entropy": (
        "it reads the weights of the head, which are not gathered then",
        "Write `chunked_cross_entropy: true`.",
    ),
    "fp32_norms": ("a layer's weights are gathered in one number format", "Remove it."),
    "peft_layer_replication": ("layers that share weights cannot be gathered one by one", "Train without FSDP."),
}
# Options of plain data parallel training, which FSDP takes the place of.
_PLAIN = ("ddp_bucket_cap_mb", "ddp_broadcast_buffers", "ddp_find_unused_parameters")


def fsdp1_is_gone(config: TrainingConfig) -> Iterator[Finding]:
    """PyTorch's first implementation is deprecated, and gone from transformers soon."""
    inside = config.fsdp_config.fsdp_version if config.fsdp_config is not None else None
    if config.fsdp_version == 1 or (inside == 1 and config.fsdp_version is None):
        path = ("fsdp_version",) if config.fsdp_version == 1 else ("fsdp_config", "fsdp_version")
        yield conflict(path, "FSDP1 is not supported: PyTorch and transformers have given it up for FSDP2", "Write `fsdp_version: 2`.")


def version_of_something(config: TrainingConfig) -> Iterator[Finding]:
    """A version alone turns nothing on."""
    if config.fsdp_version is not None and fsdp_option(config) is None:
        message = "'fsdp_version' turns nothing on: without 'fsdp_config' every device holds the whole model"
        fix = "Add `fsdp_config: {reshard_after_forward: true}`, or remove it."
        yield Finding(code="missing", path=("fsdp_config",), involves=("fsdp_version",), message=message, fix=fix)


def older_words_are_read(config: TrainingConfig) -> Iterator[Finding]:
    """Of the older list of words, those that FSDP2 has a setting for; and each thing is said once."""
    for word, fix in {
        "hybrid_shard": "Write `dp_replicate_size`, the number of copies, beside `fsdp_config`.",
        "hybrid_shard_zero2": "Write `dp_replicate_size`, the number of copies, and `fsdp_config: {reshard_after_forward: false}`.",
        "no_shard": "Remove `fsdp`: that is plain data parallel training.",
    }.items():
        if word in (config.fsdp or ()):
            yield conflict("fsdp", f"'{word}' belongs to FSDP1", fix)
    section = config.fsdp_config
    if section is not None and section.reshard_after_forward is not None and {"full_shard", "shard_grad_op"} & set(config.fsdp or ()):
        message = "'fsdp' and 'fsdp_config.reshard_after_forward' both say whether gathered weights are freed"
        yield conflict("fsdp", message, "Keep the one in `fsdp_config`.", "fsdp_config")


def fsdp1_words(config: TrainingConfig) -> Iterator[Finding]:
    """Settings of FSDP1 whose wish FSDP2 does not grant, and what it has instead."""
    section = config.fsdp_config
    if section is None:
        return
    strategy = section.sharding_strategy
    if strategy in ("HYBRID_SHARD", "HYBRID_SHARD_ZERO2", "NO_SHARD"):
        fix = "Remove `fsdp_config`." if strategy == "NO_SHARD" else "Write `dp_replicate_size`, the number of copies, instead."
        yield conflict(("fsdp_config", "sharding_strategy"), f"'{strategy}' belongs to FSDP1", fix)
    elif strategy is not None and section.reshard_after_forward is not None:
        message = "'sharding_strategy' and 'reshard_after_forward' say the same thing"
        yield conflict(("fsdp_config", "sharding_strategy"), message, "Keep `reshard_after_forward`.")
    wishes = (
        ("limit_all_gathers", section.limit_all_gathers is False, "FSDP2 never gathers further ahead than it has to"),
        ("forward_prefetch", section.forward_prefetch, "FSDP2 prefetches as its layers are called"),
        ("backward_prefetch", section.backward_prefetch not in (None, "BACKWARD_PRE"), "FSDP2 always gathers a layer before it is needed"),
        ("use_orig_params", section.use_orig_params is False, "FSDP2 never flattens parameters"),
        ("state_dict_type", section.state_dict_type == "LOCAL_STATE_DICT", "checkpoints must come back with another number of GPUs"),
        (
            "final_state_dict_type",
            section.final_state_dict_type not in (None, "FULL_STATE_DICT"),
            "the final model is always whole, in files that any tool reads",
        ),
    )
    for name, asked, why in wishes:
        if asked:
            fix = "Write SHARDED_STATE_DICT or FULL_STATE_DICT." if name == "state_dict_type" else "Remove it."
            # Flattened or not, what is computed is the same.
            harmless = name == "use_orig_params"
            yield conflict(("fsdp_config", name), f"'fsdp_config.{name}' asks for what belongs to FSDP1: {why}", fix, warning=harmless)


def final_model_is_whole(config: TrainingConfig) -> Iterator[Finding]:
    """The older name of the final model's form."""
    if config.fsdp_final_state_dict_type not in (None, "FULL_STATE_DICT"):
        yield conflict("fsdp_final_state_dict_type", "the final model is always whole, in files that any tool reads", "Remove it.")


def units_are_said(config: TrainingConfig) -> Iterator[Finding]:
    """Units are layers, and the number format is one there is."""
    section = config.fsdp_config
    if section is None:
        return
    if section.auto_wrap_policy == "SIZE_BASED_WRAP" or section.min_num_params:
        name = "auto_wrap_policy" if section.auto_wrap_policy == "SIZE_BASED_WRAP" else "min_num_params"
        message = "units by size are not supported under FSDP2: lists of layers, which compute nothing themselves, would be such units"
        yield conflict(("fsdp_config", name), message, "Remove it: each transformer layer is a unit.")
    policy = section.mixed_precision_policy
    if policy is not None and policy not in FORMATS:
        message = f"'{policy}' is no number format of FSDP"
        fix = f"Write one of {', '.join(FORMATS)}, or leave it out: it follows bf16 and fp16."
        yield conflict(("fsdp_config", "mixed_precision_policy"), message, fix)


def steps_over_shards(config: TrainingConfig) -> Iterator[Finding]:
    """The optimizer knows shards."""
    option, name = fsdp_option(config), str(getattr(config.optimizer, "value", config.optimizer) or "")
    if option is not None and name and name not in OPTIMIZERS:
        message = f"the optimizer '{name}' cannot step over weights that are spread over devices"
        yield conflict("optimizer", message, f"Write `optimizer: adamw_torch_fused`, or one of {', '.join(sorted(OPTIMIZERS))}.", option)


def works_on_shards(config: TrainingConfig) -> Iterator[Finding]:
    """What needs whole tensors, or a process that goes ahead of the others."""
    option = fsdp_option(config)
    if option is None:
        return
    for name, (why, fix) in APART.items():
        if given(config, name) and not (name == "activation_offloading" and config.activation_offloading is not True):
            yield conflict(name, f"'{name}' does not work with '{option}': {why}", fix, option)
    if config.launch.probe is True:
        yield conflict(("launch", "probe"), f"no step is tried before training with '{option}'", "Leave it at `auto`.", option)
    if config.bf16 == "full":
        yield conflict(
            "bf16", f"`bf16: full` does not work with '{option}', which keeps its own format of the weights", "Write `bf16: true`.", option
        )
    start = config.peft_init_lora_weights
    if isinstance(start, str) and start.lower().startswith(("pissa", "olora")):
        message = f"'{start}' changes the base as it starts, which is spread over devices at the end of the run"
        yield conflict("peft_init_lora_weights", message, "Leave it out, or write gaussian or orthogonal.", option)


def plain_parallel_options(config: TrainingConfig) -> Iterator[Finding]:
    """Options of plain data parallel training do nothing under FSDP."""
    option = fsdp_option(config)
    for name in _PLAIN:
        if option is not None and given(config, name):
            yield conflict(name, f"'{name}' is for whole copies of the model, and '{option}' keeps none", "Remove it.", option)


def base_is_read_once(config: TrainingConfig) -> Iterator[Finding]:
    """Where one process reads the weights, the others have none to work on before they are sent theirs."""
    section = config.fsdp_config
    if section is None or not section.cpu_ram_efficient_loading:
        return
    for name in ("reinit_weights", "spectrum_top_fraction", "fix_untrained_tokens", "lora_model_dir", "load_in_4bit"):
        if given(config, name):
            message = f"'{name}' works on the weights before they are spread, and 'cpu_ram_efficient_loading' leaves all processes but one without them"
            yield conflict(("fsdp_config", "cpu_ram_efficient_loading"), message, "Write false.", name)


RULES = (
    fsdp1_is_gone,
    version_of_something,
    older_words_are_read,
    fsdp1_words,
    final_model_is_whole,
    units_are_said,
    steps_over_shards,
    works_on_shards,
    plain_parallel_options,
    base_is_read_once,
)
