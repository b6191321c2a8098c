"""Options of training on several devices."""

from typing import Any, Literal

from pydantic import Field

from runtime.config.section import Section

StateDictType = Literal["FULL_STATE_DICT", "LOCAL_STATE_DICT", "SHARDED_STATE_DICT"]


class FSDP(Section):
    """Fully sharded data parallel (FSDP2): weights, gradients and optimizer state spread over the devices."""

    fsdp_version: int | None = Field(
        None,
        ge=1,
        le=2,
        description="2, the default: PyTorch's current implementation. 1 is refused. `fsdp_version` outside says the same.",
    )
    activation_checkpointing: bool | None = Field(
        None,
        description="Compute activations again in the backward pass, as `gradient_checkpointing: true` does; dropout is drawn alike both times.",
    )
    offload_params: bool | None = Field(
        None,
        description="Keep shards of weights, gradients and optimizer in host memory, 16 bytes a trained parameter over all devices, and step there: several "
        "times slower, fits far larger models. Default: false.",
    )
    sync_module_states: bool | None = Field(
        None, description="FSDP1: send the first process' weights to all others. FSDP2 has no need of it."
    )
    cpu_ram_efficient_loading: bool | None = Field(
        None,
        description="Only the first process reads the weights and sends the others their shards, so that host memory holds the model once and not once for each "
        "device. Default: false. Not for a base in 4 bit, nor with options that change weights before training.",
    )
    cpu_offload_pin_memory: bool | None = Field(
        None, description="Page-locked host memory for offloaded shards, which travels faster. Default: true. False lets the machine swap."
    )
    use_orig_params: bool | None = Field(
        None, description="FSDP1: keep parameters apart instead of flattened; needed where some are frozen. FSDP2 always does."
    )
    state_dict_type: StateDictType | None = Field(
        None,
        description="Who writes a checkpoint: SHARDED_STATE_DICT, the default, has every process write its share of whole tensors, FULL_STATE_DICT the first "
        "process all of them; either way as whole tensors, gathered one at a time, so that a run goes on with any number of devices. An adapter is always written by the first.",
    )
    final_state_dict_type: StateDictType | None = Field(
        None, description="Form of the final model: always FULL_STATE_DICT, whole and in the format the base was loaded in."
    )
    auto_wrap_policy: Literal["TRANSFORMER_BASED_WRAP", "SIZE_BASED_WRAP"] | None = Field(
        None,
        description="What is gathered as one unit: TRANSFORMER_BASED_WRAP, the default, a transformer layer. Units by size are refused.",
    )
    transformer_layer_cls_to_wrap: str | None = Field(
        None,
        description="Class of the layers that are units, such as `LlamaDecoderLayer`; several with commas. Default: those the model names.",
    )
    reshard_after_forward: bool | None = Field(
        None,
        description="Free a layer's gathered weights after its forward pass and gather them again: less memory, half as much traffic again. Default: true.",
    )
    sharding_strategy: Literal["FULL_SHARD", "SHARD_GRAD_OP", "NO_SHARD", "HYBRID_SHARD", "HYBRID_SHARD_ZERO2"] | None = Field(
        None,
        description="FSDP1's name for `reshard_after_forward`: FULL_SHARD is read as true, SHARD_GRAD_OP as false. For HYBRID_SHARD write `dp_replicate_size`.",
    )
    limit_all_gathers: bool | None = Field(
        None, description="FSDP1: wait before gathering further ahead than two layers, which saves memory. FSDP2 always does."
    )
    backward_prefetch: Literal["BACKWARD_PRE", "BACKWARD_POST", "NO_PREFETCH"] | None = Field(
        None, description="FSDP1: when the next layer's weights are gathered in the backward pass. FSDP2 always does as BACKWARD_PRE says."
    )
    forward_prefetch: bool | None = Field(None, description="FSDP1: gather the next layer's weights during the forward pass.")
    min_num_params: int | None = Field(
        None, ge=0, description="Parameters that make a unit, for `auto_wrap_policy: SIZE_BASED_WRAP`, which is refused."
    )
    mixed_precision_policy: str | None = Field(
        None,
        description="Number format in which weights are gathered, layers computed and gradients reduced: `bf16`, `fp16` or `fp32`. Default: as `bf16` and `fp16` "
        "say. Shards of trained weights, and the optimizer, are in 32 bits under mixed precision.",
    )


class ContextParallel(Section):
    """One sequence spread over several devices."""

    size: int | None = Field(None, ge=1, description="Devices that share a sequence.")
    backend: Literal["auto", "ulysses", "ring", "usp"] | None = Field(None, description="How attention crosses devices.")
    load_balance: Literal["auto", "none", "head_tail", "distflash"] | None = Field(
        None, description="How positions are dealt out, so that no device waits."
    )
    ring_impl: Literal["auto", "torch_native", "hf_kernels"] | None = Field(None, description="Code of the ring.")
    ring_size: int | None = Field(None, ge=1, description="Devices in a ring, for `usp`.")
    ulysses_size: int | None = Field(None, ge=1, description="Devices that share heads, for `usp`.")
    rotate_method: Literal["allgather", "alltoall"] | None = Field(None, description="How the ring passes keys and values on.")
    shard_in_collator: bool | None = Field(None, description="Cut sequences before the model instead of inside it.")


class DistributedOptions:
    """How the work is spread over devices and machines."""

    ddp_timeout: int | None = Field(None, ge=1, description="Seconds a process waits for the others before it gives up. Default: 1800.")
    ddp_bucket_cap_mb: int | None = Field(None, ge=1, description="Size in MB of the pieces in which gradients are exchanged.")
    ddp_broadcast_buffers: bool | None = Field(None, description="Keep buffers such as running means the same on all devices.")
    ddp_find_unused_parameters: bool | None = Field(
        None, description="Allow parameters without a gradient in a step; costs a walk over the graph."
    )
    accelerator_config: dict[str, Any] | None = Field(
        None,
        description="Settings of accelerate, such as `dispatch_batches` and `split_batches`. With FSDP and several micro batches a step, "
        "`gradient_accumulation_kwargs: {sync_each_batch: true}` keeps gradients spread over the devices; else each device holds all of them until the step.",
    )
    deepspeed: str | dict[str, Any] | None = Field(
        None, description="DeepSpeed configuration: a JSON file, a mapping, or a preset's name such as `zero3`."
    )
    deepcompile: bool | None = Field(None, description="DeepSpeed's compiler.")
    fsdp: list[str] | None = Field(
        None,
        description="Older form of FSDP's settings, a list of words: `full_shard`, `shard_grad_op` (`reshard_after_forward: false`), `offload` and `auto_wrap`; "
        "use `fsdp_config`.",
    )
    fsdp_config: FSDP | None = Field(
        None, description="Fully sharded data parallel, for runs of two GPUs or more; writing this section turns it on."
    )
    fsdp_version: int | None = Field(
        None, ge=1, le=2, description="2, the default: PyTorch's current implementation of FSDP. 1 is refused. It belongs to `fsdp_config`."
    )
    fsdp_final_state_dict_type: StateDictType | None = Field(None, description="Form of the final model: always FULL_STATE_DICT, whole.")
    dp_shard_size: int | None = Field(
        None,
        ge=1,
        description="Devices over which one copy of the weights is sharded. Default: all of them, or what `dp_replicate_size` leaves. Needs `fsdp_config`.",
    )
    dp_replicate_size: int | None = Field(
        None,
        ge=1,
        description="Copies of the sharded model, each on its own group of devices: with one a machine, only gradients cross the network. Default: 1. "
        "Times `dp_shard_size` it makes all devices. Needs `fsdp_config`.",
    )
    context_parallel_size: int | None = Field(
        None, ge=1, description="Devices that share one sequence. Must divide their number; for contexts that do not fit on one."
    )
    context_parallel: ContextParallel | None = Field(None, description="Details of sharing a sequence.")
    heads_k_stride: int | None = Field(
        None,
        ge=1,
        description="Context parallel: key heads handled at once; more is faster and takes more memory. Must divide the number of key heads.",
    )
    ring_attn_func: Literal["varlen_llama3", "batch_ring", "batch_zigzag", "batch_stripe"] | None = Field(
        None, description="Context parallel: kind of ring. Default: `varlen_llama3` with packing, `batch_ring` without."
    )
    tensor_parallel_size: int | None = Field(None, ge=1, description="Devices that share each matrix product.")
    expert_parallel_size: int | None = Field(None, ge=1, description="Devices over which experts are spread.")
    expert_parallel_backend: Literal["auto", "deep_ep", "torch"] | None = Field(None, description="How tokens travel to their experts.")
    expert_parallel_dispatch_chunks: int | None = Field(None, ge=1, description="Pieces in which tokens travel, to overlap with computing.")
    expert_parallel_fallback_on_unsupported: bool | None = Field(
        None, description="Use the slower way where the device lacks the fast one."
    )
    expert_parallel_num_nvl_bytes: int | None = Field(None, ge=0, description="Bytes of the buffer between devices of a machine.")
    expert_parallel_num_rdma_bytes: int | None = Field(None, ge=0, description="Bytes of the buffer between machines.")
    expert_parallel_save_dispatch: bool | None = Field(None, description="Keep the routing for the backward pass.")
    expert_parallel_token_capacity: int | None = Field(None, ge=1, description="Most tokens an expert takes in a step.")
    use_ray: bool = Field(False, description="Start the processes through Ray.")
    ray_run_name: str | None = Field(None, description="Name of the Ray run.")
    ray_num_workers: int = Field(1, ge=1, description="Processes Ray starts.")
    resources_per_worker: dict[str, Any] = Field(default_factory=lambda: {"GPU": 1}, description="What each of them gets.")
