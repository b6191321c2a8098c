"""How one training step is computed: everything besides the model's shape that memory and time depend on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Quantization = Literal["none", "nf4", "nf4-dq", "int8", "packed"]
Checkpointing = Literal["none", "selective", "alternate", "attention", "full", "offload"]
Attention = Literal["flash", "sdpa", "eager"]
Fused = Literal["norm", "glu", "lora_qkv", "lora_o", "lora_mlp"]
Loss = Literal[
    "labels",
    "policy",
    "upcast",
    "fp32",
    "dropped",
    "plain",
    "in-place",
    "compiled",
    "compiled-outputs",
    "parts",
    "fp32-parts",
    "chunked",
    "fused",
    "cut",
]
ShardingKind = Literal["none", "ddp", "fsdp", "zero1", "zero2", "zero3"]

KEEPING = ("none", "selective", "alternate")
"""Ways to checkpoint after which a layer keeps more than its input."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapter:
    """A LoRA adapter. `targets` are module names, None for every linear layer of the blocks."""

    rank: int
    ranks: tuple[tuple[str, float], ...] = ()
    """Mean rank over all layers of matrices whose rank is not the same everywhere, by name."""
    targets: tuple[str, ...] | None = None
    stacks: tuple[str, ...] = ()
    """Parameters of experts, by their last names, that get an adapter although they are no linear layers (`target_parameters`)."""
    dropout: float = 0.0
    parameter_bytes: int = 4
    """PEFT keeps adapters in fp32 over a 16-bit base unless told otherwise (autocast_adapter_dtype)."""
    magnitude: bool = False
    """DoRA: a trained magnitude for each output, and the norm of the adapted weight computed each step."""
    saved_modules: tuple[str, ...] = ()
    """modules_to_save: trained whole, beside the frozen original."""
    tokens: int = 0
    """Rows of the embedding that train by themselves."""

    def rank_of(self, name: str) -> float:
        """Mean rank over all layers of the matrix of that name."""
        return dict(self.ranks).get(name, float(self.rank))


@dataclass(frozen=True, slots=True, kw_only=True)
class Sharding:
    """How one copy of the training state is spread over `gpus` cards."""

    kind: ShardingKind = "none"
    gpus: int = 1
    offload: bool = False
    """Weights live in host memory; with FSDP gradients and optimizer too."""
    offload_states: bool = False
    """Gradients and optimizer live in host memory (ZeRO's offload_optimizer)."""
    live_parameters: float | None = None
    """Elements that ZeRO-3 keeps gathered at most; None: DeepSpeed's default."""
    bucket: float | None = None
    """Elements of ZeRO's reduction bucket; None: DeepSpeed's default."""
    bucket_by_width: bool = False
    """transformers sets that bucket to the square of the hidden width ("auto")."""
    reshard: bool = True
    """FSDP frees a block's gathered weights after its forward pass; ZeRO-2-like when off."""
    mixed_units: bool = False
    """Frozen and trained elements share FSDP 1's flat parameters, so that whole gradients exist of both."""
    syncs_each_batch: bool = False
    """Gradients are reduced after each micro batch; else FSDP accumulates them whole (`sync_each_batch`)."""
    in_trainer: bool = True
    """transformers' Trainer runs it; with FSDP 1 and an adapter its backward pass leaves layers' inputs behind."""
    ends_apart: bool = False
    """Embedding and head are gathered only while they are used, as units of their own."""
    version: int = 2

    @property
    def shards_weights(self) -> bool:
        """Each card holds a part of the weights only."""
        return self.kind in ("fsdp", "zero3") and (self.gpus > 1 or self.offload)


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """One optimizer step on one card.

    Formats are given in bytes: `weight_bytes` of the weights as loaded, `residual_bytes` of the residual stream between layers (the format of embeddings
    and norms), `compute_bytes` of matrix products. `sequence` is the longest row of a micro batch as the model sees it.
    """

    adapter: Adapter | None = None
    quantization: Quantization = "none"
    weight_bytes: int = 2
    residual_bytes: int = 2
    compute_bytes: int = 2
    autocast: bool = True
    optimizer: str = "adamw_torch_fused"
    projected_rank: int = 128
    """Rank that GaLore and APOLLO project gradients to (transformers' default)."""
    projected_modules: tuple[str, ...] | None = None
    """Modules whose gradients they project, None for every linear layer."""
    micro_batch: int = 1
    sequence: int = 2048
    pairs: int = 1
    """Rows the model sees per row of the micro batch: 2 where chosen and rejected answers are concatenated."""
    reference_model: bool = False
    """A frozen second copy of the weights is held."""
    accumulation: int = 1
    checkpointing: Checkpointing = "none"
    attention: Attention = "sdpa"
    masked: bool = False
    """The fused attention gets an explicit mask: rows padded to one length, or several samples packed in a row."""
    loss: Loss = "upcast"
    loss_parts: int = 8
    """Parts of the rows that a loss works through one after the other."""
    holds_logits: bool = False
    """The model's outputs stay referenced while the backward pass runs."""
    evaluates: bool = False
    evaluation_batch: int = 1
    evaluation_sequence: int | None = None
    """Longest row evaluated where it differs from the longest one trained on."""
    sharding: Sharding = Sharding()
    compiled: bool = False
    """The layers run as fused kernels, which keep the matrices' operands and compute the rest anew."""
    repeats_keys: bool = False
    """Keys and values are copied to every query head before they enter a fused attention."""
    quantized_experts: bool = False
    """The experts of a mixture are quantized too, and a layer's are whole while it runs."""
    early_quantization: bool = False
    """bitsandbytes before 0.44: products with quantized matrices keep their input, though no gradient needs it, and a matrix becomes fp16 before it becomes
    the products' format (autograd/_functions.py, MatMul4Bit; nn/modules.py, Params4bit)."""
    trained_share: float = 1.0
    """Share of the elements that train where the whole model could: named parameters, the layers of Spectrum or LISA."""
    passive_layers: int = 0
    """First layers that no backward pass reaches, as nothing before or in them trains."""
    fused: frozenset[Fused] = frozenset()
    """Parts of a layer whose fused kernels keep their inputs alone."""
    mlp_pieces: int = 1
    """The MLP works through a row in so many pieces, each computed again in the backward pass."""
    context_parallel: int = 1
    """A row is spread over so many cards."""
    tensor_parallel: int = 1
    """Heads and inner widths of a layer are spread over so many cards."""
    generated: int = 0
    """Rows that the model itself answers at once before it learns from them; each has a key-value cache."""
    gradient_means: bool = False
    """A running mean of every gradient is held (Grokfast)."""
    colocated_share: float = 0.0
    """Share of the card that an inference engine on it takes for itself."""
    steps_in_backward: bool = False
    """Each gradient is used and freed as soon as it exists, as LOMO and the layerwise optimizers do."""
    device: Literal["cuda", "cpu"] = "cuda"
    foreach: bool = True
    """AdamW without fusion runs over all tensors at once and needs a temporary copy; a CPU goes tensor by tensor."""

    @property
    def tokens(self) -> int:
        """Tokens of one micro batch on one card."""
        return -(-self.micro_batch * self.pairs * self.sequence // self.context_parallel)

    @property
    def evaluation_tokens(self) -> int:
        """Tokens of one evaluation batch on one card."""
        return self.evaluation_batch * self.pairs * (self.evaluation_sequence or self.sequence)
