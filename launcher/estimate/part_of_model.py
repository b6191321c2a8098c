"""The part of a model that one card computes: without the head where nothing is predicted, and its share of every matrix under tensor parallelism."""

from __future__ import annotations

from dataclasses import replace

from launcher.estimate.facts import Block, Matrix, ModelFacts
from launcher.estimate.layer_parts import half_of, leads_out
from launcher.estimate.workload import Workload


def part_of(facts: ModelFacts, workload: Workload) -> ModelFacts:
    """The facts of what one card computes of `facts`."""
    if workload.loss == "labels":
        # A score for each row, or a few for each token, in place of the head.
        facts = replace(facts, tied=True)
    if workload.tensor_parallel > 1:
        facts = replace(facts, blocks=tuple((count, _share(block, workload.tensor_parallel)) for count, block in facts.blocks))
    return facts


def _share(block: Block, cards: int) -> Block:
    """Heads and inner widths over `cards`: the first matrices of each half by their outputs, those that lead out by their inputs. Embeddings, head, norms
    and routers are whole on every card (transformers' plans for tensor parallelism)."""
    return replace(
        block,
        matrices=tuple(_share_of_matrix(matrix, cards) for matrix in block.matrices),
        heads=-(-block.heads // cards),
        kv_heads=-(-block.kv_heads // cards),
    )


def _share_of_matrix(matrix: Matrix, cards: int) -> Matrix:
    if matrix.role == "router":
        return matrix
    if leads_out(matrix.name, half_of(matrix.role)):
        return replace(matrix, d_in=-(-matrix.d_in // cards))
    return replace(matrix, d_out=-(-matrix.d_out // cards))
