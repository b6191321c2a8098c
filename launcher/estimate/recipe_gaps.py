"""What a recipe sets and the figures leave out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from launcher.estimate.facts import ModelFacts
from launcher.estimate.optimizer_kinds import is_modelled
from launcher.estimate.workload import Workload

if TYPE_CHECKING:
    from runtime.config.schema import TrainingConfig

# Architectures whose activations agree with the live tensors of real steps; others are counted by the same rules, unchecked.
CHECKED = frozenset(
    {
        "llama",
        "mistral",
        "ministral",
        "qwen2",
        "qwen3",
        "gemma",
        "gemma3",
        "gemma3_text",
        "phi",
        "gpt_neox",
        "starcoder2",
        "olmo2",
    }
)


def not_modelled(config: TrainingConfig, facts: ModelFacts, workload: Workload) -> tuple[str, ...]:
    """What the recipe sets and the figures leave out, each with the direction it moves them."""
    said = list(facts.notes)
    if facts.model_type not in CHECKED:
        said.append(
            f"activations of {facts.model_type} models follow general rules and are not checked against real steps: up to half more on top"
        )
    if not is_modelled(workload.optimizer):
        said.append(f"optimizer {workload.optimizer}: counted as AdamW, the most it can need")
    for option, effect in {
        "torch_compile": "compiling needs more for a moment; graph breaks keep more activations than counted",
        "fp8": "fp8 copies of weights and activations",
        "relora": "merging needs a moment's copy of the weights",
        "qat": "fake quantization keeps more activations",
        "peft_layer_replication": "repeated layers keep activations and adapters of their own",
        "layer_offloading": "frozen layers wait in host memory: less than shown",
    }.items():
        value = getattr(config, option, None)
        if value and (value is True or value != 1):
            said.append(f"{option}: {effect}")
    if facts.quantized and workload.quantization == "none":
        said.append(f"the checkpoint is stored in {facts.quantized}: counted as loaded in {8 * workload.weight_bytes} bit")
    return tuple(said)
