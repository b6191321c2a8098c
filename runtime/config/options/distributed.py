"""Options of training on several devices."""

from typing import Any, Literal

from pydantic import Field

from runtime.config.section import Section

StateDictType = Literal["FULL_STATE_DICT", "LOCAL_STATE_DICT", "SHARDED_STATE_DICT"]


class FSDP(Section):
    """Fully sharded data parallel: weights, gradients and optimizer state spread over the devices."""

    fsdp_version: int | None = Field(None, ge=1, le=2, description="1 or 2, PyTorch's older or current implementation.")
    activation_checkpointing: bool | None = Field(
        None, description="Recompute activations inside the sharded layers; use instead of `gradient_checkpointing`."
    )
    offload_params: bool | None = Field(
        None, description="Keep shards in host memory and bring them in when needed: slow, fits far larger models."
    )
    sync_module_states: bool | None = Field(None, description="Send the first process' weights to all others at the start.")
    cpu_ram_efficient_loading: bool | None = Field(None, description="Only one process on each machine reads the weights.")
    cpu_offload_pin_memory: bool | None = Field(
        None, description="Page-locked host memory for offloaded shards. False lets the machine swap."
    )
    use_orig_params: bool | None = Field(
        None, description="FSDP1: keep parameters apart instead of flattened; needed where some are frozen."
    )
    state_dict_type: StateDictType | None = Field(None, description="Form of checkpoints: whole, or sharded by process.")
    final_state_dict_type: StateDictType | None = Field(None, description="Form of the final model.")
    auto_wrap_policy: Literal["TRANSFORMER_BASED_WRAP", "SIZE_BASED_WRAP"] | None = Field(
        None, description="What is sharded as one unit: a transformer layer, or a number of parameters."
    )
    transformer_layer_cls_to_wrap: str | None = Field(None, description="Class name of the transformer layer, such as `LlamaDecoderLayer`.")
    reshard_after_forward: bool | None = Field(None, description="Free gathered weights after the forward pass: less memory, more traffic.")
    sharding_strategy: Literal["FULL_SHARD", "SHARD_GRAD_OP", "NO_SHARD", "HYBRID_SHARD", "HYBRID_SHARD_ZERO2"] | None = Field(
        None, description="FSDP1: what is sharded. FSDP2 has `reshard_after_forward` instead: true is FULL_SHARD, false SHARD_GRAD_OP."
    )
    limit_all_gathers: bool | None = Field(
        None, description="FSDP1: wait before gathering further ahead than two layers, which saves memory. FSDP2 always does."
    )
    backward_prefetch: Literal["BACKWARD_PRE", "BACKWARD_POST", "NO_PREFETCH"] | None = Field(
        None, description="FSDP1: when the next layer's weights are gathered in the backward pass."
    )
    forward_prefetch: bool | None = Field(None, description="FSDP1: gather the next layer's weights during the forward pass.")
    min_num_params: int | None = Field(None, ge=0, description="Parameters that make a unit, for `auto_wrap_policy: SIZE_BASED_WRAP`.")
    mixed_precision_policy: str | None = Field(
        None, description="Number format in which shards are gathered and computed: `bf16` or `fp16`."
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
        None, description="Older form of FSDP's settings, a list of words such as `full_shard` and `auto_wrap`; use `fsdp_config`."
    )
    fsdp_config: FSDP | None = Field(None, description="Fully sharded data parallel; writing this section turns it on.")
    fsdp_version: int | None = Field(
        None, ge=1, le=2, description="1 or 2, PyTorch's older or current implementation. 2 is the one to use."
    )
    fsdp_final_state_dict_type: StateDictType | None = Field(
        None, description="Form of the final model; use `fsdp_config.final_state_dict_type`."
    )
    dp_shard_size: int | None = Field(None, ge=1, description="Devices over which weights are sharded. Default: all of them.")
    dp_replicate_size: int | None = Field(None, ge=1, description="Copies of the sharded model, each on its own group of devices.")
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
