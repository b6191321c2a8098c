"""Embeddings of tokens that a base model never saw."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runtime.config.problem import Problem, UserError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


def fix_untrained(model: PreTrainedModel, config: Any) -> int:
    """How many rows of the embeddings were set to the mean of the trained rows: those of the tokens in `fix_untrained_tokens`.

    A reserved token's row is often all zeros, or noise no training ever moved; a model that is to read and write it learns slowly from there. The mean
    is taken over the rows that are not named and not all zero, separately for input and output embeddings, and depends on nothing but the base's
    weights. Raises UserError for a token outside the vocabulary.
    """
    named = config.fix_untrained_tokens
    tokens = sorted({named} if isinstance(named, int) else set(named or ()))
    if not tokens:
        return 0
    import torch

    tables = [model.get_input_embeddings(), model.get_output_embeddings()]
    weights = {table.weight.data_ptr(): table.weight for table in tables if table is not None}
    size = min(weight.shape[0] for weight in weights.values())
    outside = [token for token in tokens if not 0 <= token < size]
    if outside:
        raise UserError(
            Problem(
                code="out-of-range",
                path="fix_untrained_tokens",
                message=f"token {', '.join(map(str, outside))} is outside the {size} embeddings of this model",
                fix=f"name ids from 0 to {size - 1}; added tokens come after the tokenizer's own",
            )
        )
    with torch.no_grad():
        for weight in weights.values():
            weight[tokens] = _mean_of_trained(weight, tokens).to(weight.dtype)
    return len(tokens)


def _mean_of_trained(weight: torch.Tensor, untrained: list[int]) -> torch.Tensor:
    """The mean row, in float64: summed in 16 bit, a hundred thousand rows would lose it."""
    import torch

    trained = weight.abs().amax(dim=1) > 0
    trained[untrained] = False
    if not bool(trained.any()):
        raise UserError(
            Problem(
                code="conflict",
                path="fix_untrained_tokens",
                message="no trained embedding is left to take a mean of",
                fix="name only the tokens that were never trained",
            )
        )
    total = torch.zeros(weight.shape[1], dtype=torch.float64, device=weight.device)
    # Widening the whole table at once would take four times its memory.
    for rows, keep in zip(weight.split(8192), trained.split(8192), strict=True):
        total += rows[keep].double().sum(dim=0)
    return total / int(trained.sum())
