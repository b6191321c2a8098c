"""What a recipe says of the answers a model gives while it trains: how many rows at once, and who holds the memory for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runtime.config.schema import TrainingConfig

GENERATING = ("grpo", "gdpo", "rloo")
"""Methods that learn from answers the model itself gives."""


def generated_rows(config: TrainingConfig, rl: str, rows: int) -> int:
    """Rows that the trained model answers at once by itself: all `rows` of an optimizer step (trl, `steps_per_generation`). vLLM holds its own."""
    if rl not in (*GENERATING, "ebft") or (config.trl is not None and config.trl.use_vllm):
        return 0
    return rows


def divergence_weight(config: TrainingConfig) -> float:
    """Weight of the distance from the reference model; 0: none is needed."""
    named = config.rl_beta if config.rl_beta is not None else config.trl.beta if config.trl is not None else None
    return float(named or 0.0)


def colocated_share(config: TrainingConfig, rl: str) -> float:
    """Share of the card that vLLM takes beside the trainer. Asleep it gives its memory back while the model trains."""
    trl = config.trl
    if rl not in GENERATING or trl is None or not trl.use_vllm or trl.vllm_mode != "colocate" or trl.vllm_enable_sleep_mode:
        return 0.0
    return float((config.vllm.gpu_memory_utilization if config.vllm is not None else None) or 0.9)
