"""What an estimate needs to know about a model: its matrices, norms and widths, layer by layer. No weights are read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

Role = Literal["attention", "mlp", "expert", "router"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrix:
    """One matrix of a block, `d_in` to `d_out`, named as PEFT matches it (`q_proj`).

    `copies` counts identical ones in the same block: the experts of a mixture. `stacked` marks matrices held as slices of one 3-D parameter and not
    as nn.Linear modules, as transformers 5 holds experts: neither LoRA's "all linear" nor 4-bit loading reaches those.
    """

    name: str
    d_in: int
    d_out: int
    role: Role
    bias: bool = False
    copies: int = 1
    stacked: bool = False

    @property
    def weights(self) -> int:
        """Elements of all copies, biases excluded."""
        return self.d_in * self.d_out * self.copies

    @property
    def parameters(self) -> int:
        """Elements of all copies, biases included."""
        return self.weights + (self.d_out * self.copies if self.bias else 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One kind of decoder layer."""

    matrices: tuple[Matrix, ...]
    heads: int
    kv_heads: int
    head_dim: int
    value_dim: int
    """Width of one value head; equals `head_dim` except under multi-head latent attention."""
    norms: int
    """Norms over the hidden width whose inputs backward needs."""
    norm_parameters: int
    """Elements of every norm of the block, the ones over heads included."""
    gated: bool = True
    """The MLP multiplies an activated gate with a second projection (SwiGLU, GeGLU)."""
    activation_copies: int = 1
    """Inner-width tensors a plain MLP's activation keeps: its input, or four where GELU is written out in elementary operations (`gelu_new`)."""
    fp32_norm: bool = True
    """Norms compute on an fp32 copy of their input, as RMSNorm does in transformers; LayerNorm is one fused kernel and keeps its input."""
    fp32_normed: bool = False
    """The normalised input is multiplied with its weight in fp32 (Gemma), so a trained weight keeps it in fp32."""
    head_norms: bool = False
    """Queries and keys are normalised too."""
    other_parameters: int = 0
    experts_per_token: int = 0
    """Routed experts each token visits; 0 in a dense block."""
    attention_dropout: bool = False
    """The model drops attention probabilities while it trains."""
    residual_dropouts: int = 0
    """Results over the hidden width that the model drops parts of before they join the residual stream."""
    shared_heads: bool = False
    """Fewer key-value heads than query heads go into the fused attention as they are, which no fused kernel takes (Falcon's multi-query attention)."""
    fused_heads: bool = False
    """One matrix makes queries, keys and values, and queries and keys are rotated: values stay a view of all of it, which keeps the unrotated ones too."""
    other_saved: int = 0
    """Elements a token keeps besides, in the format of matrix products."""
    window: int | None = None
    """Sliding attention window in tokens; None for full attention."""

    @property
    def query_width(self) -> int:
        """Elements of one token's queries over all heads."""
        return self.heads * self.head_dim

    @property
    def kv_width(self) -> int:
        """Elements of one token's keys over all key-value heads."""
        return self.kv_heads * self.head_dim

    def splits_attention(self, device: str) -> bool:
        """Whether scaled_dot_product_attention computes the probabilities of every head as a tensor: the fused kernel of a CPU knows no dropout, and none
        knows heads of different number unless told (torch 2.13, the tensors that real layers save)."""
        return self.shared_heads or (self.attention_dropout and device == "cpu")

    @property
    def parameters(self) -> int:
        """Every parameter of the block."""
        return sum(matrix.parameters for matrix in self.matrices) + self.norm_parameters + self.other_parameters

    @property
    def active_weights(self) -> int:
        """Matrix elements one token is multiplied with: all of a dense block, the visited experts of a mixture."""
        return sum(
            matrix.weights if matrix.role != "expert" else matrix.weights // matrix.copies * min(self.experts_per_token, matrix.copies)
            for matrix in self.matrices
        )

    @property
    def mlp_width(self) -> int:
        """Inner width of the MLP one token passes through, summed over visited experts and shared ones."""
        width = 0
        for matrix in self.matrices:
            if matrix.name in DOWN_PROJECTIONS and matrix.role in ("mlp", "expert"):
                width += matrix.d_in * (self.experts_per_token if matrix.role == "expert" else 1)
        return width


DOWN_PROJECTIONS = frozenset({"down_proj", "fc2", "dense_4h_to_h", "c_proj", "fc_out", "w2", "output_linear", "ff_out"})
"""Names of the matrices that lead out of an MLP; their input is the MLP's inner width. `c_proj` also ends GPT-2's attention: roles tell them apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """The shape of a causal language model. Counts are elements, not bytes."""

    name: str
    model_type: str
    hidden: int
    vocab: int
    tied: bool
    blocks: tuple[tuple[int, Block], ...]
    """How many layers of which kind, in no order."""
    other_parameters: int = 0
    """Outside blocks, embeddings and head: final norm, learned positions, embedding projections, the head's bias."""
    tower_parameters: int = 0
    """Of the vision half, where the model has one and its kind is known."""
    max_positions: int = 0
    embedding_width: int | None = None
    """Width of the token embeddings where it differs from the hidden width (OPT-350M)."""
    exact: bool = True
    """False for an architecture read by the generic rule: figures are then wider."""
    notes: tuple[str, ...] = ()
    dtype: str = ""
    """The dtype the config names for its weights."""
    quantized: str = ""
    """Quantization the checkpoint itself carries, such as mxfp4; empty for plain weights."""

    @property
    def layers(self) -> int:
        """Decoder layers in all."""
        return sum(count for count, _ in self.blocks)

    @property
    def embedding_parameters(self) -> int:
        """Elements of the token embedding."""
        return self.vocab * (self.embedding_width or self.hidden)

    @property
    def head_parameters(self) -> int:
        """Elements of an output head of its own; 0 when it is the embedding again."""
        return 0 if self.tied else self.embedding_parameters

    @property
    def block_parameters(self) -> int:
        """Elements of all decoder layers."""
        return sum(count * block.parameters for count, block in self.blocks)

    @property
    def parameters(self) -> int:
        """Every parameter once; a tied head counts with the embedding."""
        return self.block_parameters + self.embedding_parameters + self.head_parameters + self.other_parameters + self.tower_parameters

    @property
    def multiplied_weights(self) -> int:
        """Matrix elements each token is multiplied with in one forward pass: active blocks and the head, the embedding look-up excluded."""
        return sum(count * block.active_weights for count, block in self.blocks) + self.embedding_parameters

    @property
    def largest_block(self) -> Block:
        """The kind of layer with the most parameters, the one that sets a gather's size."""
        return max((block for _, block in self.blocks), key=lambda block: block.parameters)

    def matrices(self) -> Iterator[tuple[int, Matrix]]:
        """Each matrix of every kind of layer with the number of layers that have it."""
        for count, block in self.blocks:
            for matrix in block.matrices:
                yield count, matrix


def lora_targets(block: Block, names: Iterable[str] | None) -> tuple[Matrix, ...]:
    """The matrices of a block that get an adapter: those named, or with None every nn.Linear except routers' (PEFT's all-linear takes those too,
    where they are linear modules)."""
    linear = tuple(matrix for matrix in block.matrices if not matrix.stacked)
    if names is None:
        return linear
    wanted = frozenset(name.rsplit(".", 1)[-1] for name in names)
    return tuple(matrix for matrix in linear if matrix.name in wanted)
