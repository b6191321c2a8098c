"""The longest context that fits on a card: published by others, and by the estimate.

`benchmarks/data/max_context.csv` holds QLoRA of rank 32 over every linear layer, one row at a time, with transformers and FlashAttention, and with Unsloth's
offloaded checkpoints and cut cross entropy.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass

from launcher.estimate.architectures import facts_from_config
from launcher.estimate.card import on_card
from launcher.estimate.facts import ModelFacts
from launcher.estimate.known_models import known_config
from launcher.estimate.memory import peak_of
from launcher.estimate.workload import Adapter, Workload
from memory.rows import DATA

# What torch reports of a card's nominal size, as far as it is known for cards of 24 to 80 GB: 0.98 to 0.99.
VISIBLE = 0.985
COLUMNS = {"max_seq_hf_fa2": "transformers", "max_seq_unsloth_offloadedGC_CCE": "Unsloth"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """Longest context in tokens on a card of `card_gb`, 0 for none: published, and estimated as least, expected and most."""

    model: str
    stack: str
    card_gb: int
    published: int
    least: int
    expected: int
    most: int

    @property
    def inside(self) -> bool:
        """Whether the published figure lies in the estimate's range."""
        return self.least <= self.published <= self.most


def contexts() -> list[Context]:
    """Every figure of the file."""
    found = []
    with (DATA / "max_context.csv").open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            config = known_config(row["model"]) or known_config(row["model"].replace("Llama-3.3", "Llama-3.1"))
            if config is None:
                continue
            facts, card = facts_from_config(config), int(row["gpu_vram_gb"])
            for column, stack in COLUMNS.items():
                least, expected, most = (_longest(facts, stack, card * VISIBLE, end) for end in ("high", "value", "low"))
                published = 0 if row[column] == "OOM" else int(row[column])
                found.append(
                    Context(
                        model=row["model"].split("/")[-1],
                        stack=stack,
                        card_gb=card,
                        published=published,
                        least=least,
                        expected=expected,
                        most=most,
                    )
                )
    return found


def print_contexts(found: list[Context]) -> None:
    """A table, one figure a line."""
    print(f"\n{'longest context':24} {'stack':14} {'card':>6} {'published':>10} {'estimated':>10} {'least':>8} {'most':>8}")
    for row in found:
        outside = "" if row.inside else "  outside"
        print(
            f"{row.model:24} {row.stack:14} {row.card_gb:3} GB {row.published:10,} {row.expected:10,} {row.least:8,} {row.most:8,}{outside}"
        )


def _longest(facts: ModelFacts, stack: str, capacity_gib: float, end: str) -> int:
    """Tokens whose `end` of the estimate still fits."""
    few, many = 0, 2**21
    while many - few > 1:
        middle = (few + many) // 2
        held = on_card(peak_of(facts, _workload(stack, middle)).tensors_gib, gpus=1, packed=True, capability=8.0)
        few, many = (middle, many) if getattr(held, end) <= capacity_gib else (few, middle)
    return few


def _workload(stack: str, tokens: int) -> Workload:
    unsloth = stack == "Unsloth"
    return Workload(
        adapter=Adapter(rank=32),
        quantization="nf4-dq",
        optimizer="adamw_bnb_8bit" if unsloth else "adamw_torch",
        sequence=tokens,
        checkpointing="offload" if unsloth else "full",
        attention="flash",
        # PEFT's preparation for 4 bit keeps embeddings, head and norms in fp32, and with them the residual stream and the logits; Unsloth does not.
        residual_bytes=2 if unsloth else 4,
        loss="cut" if unsloth else "fp32",
        # Its layers and adapters are kernels of its own.
        fused=frozenset({"norm", "lora_qkv", "lora_o", "lora_mlp"}) if unsloth else frozenset(),
    )
