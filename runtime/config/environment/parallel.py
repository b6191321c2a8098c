"""Rules about how a run is spread over the GPUs it has."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

from runtime.config.document import Path
from runtime.config.environment.finding import found
from runtime.config.environment.machine import Machine
from runtime.config.finding import Finding
from runtime.config.schema import TrainingConfig
from runtime.config.wishes import fsdp_option, offloads

SHARED = ("context_parallel_size", "tensor_parallel_size")
DATA = ("dp_shard_size", "dp_replicate_size")


def _size(config: TrainingConfig, name: str) -> int:
    return getattr(config, name) or 1


def _wide(config: TrainingConfig, names: tuple[str, ...]) -> list[str]:
    return [name for name in names if _size(config, name) > 1]


def sharding_has_partners(config: TrainingConfig, machine: Machine) -> Iterator[Finding]:
    """One GPU has nothing to share the model with."""
    option = fsdp_option(config) or ("deepspeed" if config.deepspeed else None)
    if option is not None and machine.gpus == 1 and not offloads(config):
        message = f"'{option}' spreads the model over GPUs, and this run has one: it costs time and saves nothing"
        yield found(option, message, "Remove it, or take more GPUs.", warning=True)


def sizes_make_the_gpus(config: TrainingConfig, machine: Machine) -> Iterator[Finding]:
    """Groups that share something fill the GPUs without a rest."""
    names = _wide(config, (*SHARED, *DATA))
    if not names or machine.gpu is None:
        return
    product = prod(_size(config, name) for name in names)
    said = " × ".join(f"{name} ({_size(config, name)})" for name in names)
    # A size that is not given takes what the others leave; with all given, nothing is left to take.
    if all(getattr(config, name) is not None for name in DATA):
        if product != machine.world_size:
            yield found(names[-1], f"{said} must make the {machine.world_size} GPUs of this run", _fill(product, machine))
    elif machine.world_size % product:
        yield found(names[-1], f"{said} must divide the {machine.world_size} GPUs of this run", _fill(product, machine))


def _fill(product: int, machine: Machine) -> str:
    return (
        f"Take {product} GPUs or a multiple of it." if product > machine.world_size else "Choose sizes whose product divides their number."
    )


def heads_divide(config: TrainingConfig, machine: Machine) -> Iterator[Finding]:
    """GPUs that share a layer get whole heads."""
    model, size = machine.model, _size(config, "tensor_parallel_size")
    if model is not None and model.kv_heads and size > 1 and model.kv_heads % size:
        message = f"tensor_parallel_size ({size}) must divide the {model.kv_heads} key-value heads of this model"
        yield found("tensor_parallel_size", message, "Choose a divisor of it.")
    ulysses: list[tuple[Path, int | None]] = []
    if config.context_parallel is not None:
        ulysses.append((("context_parallel", "ulysses_size"), config.context_parallel.ulysses_size))
        if config.context_parallel.backend == "ulysses":
            ulysses.append((("context_parallel_size",), config.context_parallel.size or config.context_parallel_size))
    for path, shared in ulysses:
        if model is not None and model.heads and shared and model.heads % shared:
            message = f"Ulysses deals out whole heads: {path[-1]} ({shared}) must divide the {model.heads} heads of this model"
            yield found(path, message, "Choose a divisor of it, or `backend: ring`.")
    stride = config.heads_k_stride
    if model is not None and model.kv_heads and stride and model.kv_heads % stride:
        message = f"heads_k_stride ({stride}) must divide the {model.kv_heads} key-value heads of this model"
        yield found("heads_k_stride", message, "Write 1, or a divisor of it.")


def tensor_stays_on_a_node(config: TrainingConfig, machine: Machine) -> Iterator[Finding]:
    """Sharing every matrix product needs the fast links inside one machine."""
    size = _size(config, "tensor_parallel_size")
    if machine.gpus_per_node and size > machine.gpus_per_node and machine.nodes > 1:
        message = (
            f"tensor_parallel_size ({size}) reaches beyond the {machine.gpus_per_node} GPUs of one node: every layer waits for the network"
        )
        yield found(
            "tensor_parallel_size", message, f"Use at most {machine.gpus_per_node}, and shard over the nodes with FSDP.", warning=True
        )


def machines_meet_in_a_storage(config: TrainingConfig, machine: Machine) -> Iterator[Finding]:
    """Each machine writes its part of a checkpoint to its own disk; only a storage, or one disk for all, brings them together."""
    if machine.nodes > 1 and config.launch.storage is None:
        message = f"each of {machine.nodes} machines holds a part of every checkpoint: without a storage they train only where all share the disk of output_dir"
        yield found(("launch", "storage"), message, "Set it, or output_dir to a folder that all machines share.", warning=True)


def experts_spread(config: TrainingConfig, machine: Machine) -> Iterator[Finding]:
    """Experts are dealt out over groups of GPUs."""
    size = _size(config, "expert_parallel_size")
    if machine.gpu is not None and size > 1 and machine.world_size % size:
        message = f"expert_parallel_size ({size}) must divide the {machine.world_size} GPUs of this run"
        yield found("expert_parallel_size", message, "Choose a divisor of their number.")


def one_process_places_layers(config: TrainingConfig, machine: Machine) -> Iterator[Finding]:
    """A device map spreads the layers of one process; several processes each hold the model."""
    spread = config.device_map in ("auto", "balanced", "balanced_low_0", "sequential") or isinstance(config.device_map, dict)
    if spread and machine.gpu is not None and machine.world_size > 1:
        message = f"'device_map' spreads the layers of one process over the GPUs, and this run has {machine.world_size} processes"
        yield found("device_map", message, "Remove it; or run one process with `launch: {processes: 1}`.")


def unsloth_alone(config: TrainingConfig, machine: Machine) -> Iterator[Finding]:
    """Unsloth's fused LoRA knows one GPU."""
    for name in ("unsloth_lora_mlp", "unsloth_lora_qkv", "unsloth_lora_o"):
        if getattr(config, name) and machine.world_size > 1:
            yield found(
                name,
                f"'{name}' works on one GPU, and this run has {machine.world_size}",
                f"Write `{name.replace('unsloth_', '')}_kernel: true`.",
            )


def recomputed_preferences(config: TrainingConfig, machine: Machine) -> Iterator[Finding]:
    """TRL's trainers cannot recompute a quantized model the old way on several GPUs."""
    old = (config.gradient_checkpointing_kwargs or {}).get("use_reentrant") and config.gradient_checkpointing
    if config.rl and old and config.load_in_4bit and machine.world_size > 1:
        message = f"`use_reentrant: true` breaks `rl: {config.rl}` on a 4-bit base on several GPUs, and this run has {machine.world_size}"
        yield found("gradient_checkpointing_kwargs", message, "Write `gradient_checkpointing_kwargs: {use_reentrant: false}`.")


RULES = (
    sharding_has_partners,
    sizes_make_the_gpus,
    heads_divide,
    tensor_stays_on_a_node,
    machines_meet_in_a_storage,
    experts_spread,
    one_process_places_layers,
    unsloth_alone,
    recomputed_preferences,
)
