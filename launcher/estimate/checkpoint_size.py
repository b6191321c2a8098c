"""What a checkpoint and the final model of a run weigh, from what the runtime writes into them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from launcher.estimate.facts import ModelFacts, lora_targets
from launcher.estimate.optimizer_state import saved_state_bytes
from launcher.estimate.weights import QUANTIZED_BYTES, frozen_or_trained_bytes, trained_bytes_each, trained_parameters
from launcher.estimate.workload import Workload

if TYPE_CHECKING:
    from runtime.config.schema import TrainingConfig

GB = 1e9

# A tokenizer's files by entry of its vocabulary: 50 to 140 bytes in the families of the shipped recipes.
_TOKENIZER_BYTES = 90.0
# The recipe, the states of the Trainer and of the random generators, the manifest.
_SMALL_FILES = 60e3


def checkpoint_gb(config: TrainingConfig, facts: ModelFacts, workload: Workload) -> float:
    """GB (1e9 bytes) of one checkpoint: the adapter or the whole model, the optimizer's states unless `save_only_model`, the tokenizer.

    ReLoRA adds the base weights that it changes, Grokfast a mean of every gradient.
    """
    trained = trained_parameters(facts, workload) * trained_bytes_each(workload)
    size = _weights(facts, workload)
    if not config.save_only_model:
        size += saved_state_bytes(facts, workload)
    if config.relora and workload.adapter is not None:
        size += _adapted_base(facts, workload)
    if config.grokfast_alpha is not None or config.grokfast_lamb is not None:
        size += trained
    return (size + facts.vocab * _TOKENIZER_BYTES + _SMALL_FILES) / GB


def final_gb(config: TrainingConfig, facts: ModelFacts, workload: Workload) -> float:
    """GB of the final model: the adapter or the whole model, and beside an adapter the merged model where one is made."""
    size = _weights(facts, workload)
    if workload.adapter is not None:
        merged = facts.parameters * 2.0
        if config.relora:
            size = merged
        elif config.launch.publish.merge:
            size += merged
    return (size + facts.vocab * _TOKENIZER_BYTES) / GB


def _weights(facts: ModelFacts, workload: Workload) -> float:
    """Bytes of the adapter, or of the model: all of it, however little of it trains."""
    if workload.adapter is not None:
        return trained_parameters(facts, workload) * float(trained_bytes_each(workload))
    return frozen_or_trained_bytes(facts, workload)


def _adapted_base(facts: ModelFacts, workload: Workload) -> float:
    """Bytes of the base weights under an adapter."""
    assert workload.adapter is not None
    adapted = sum(count * m.weights for count, block in facts.blocks for m in lora_targets(block, workload.adapter.targets))
    each = workload.weight_bytes if workload.quantization == "none" else QUANTIZED_BYTES[workload.quantization]
    return adapted * float(each)
