"""Peak memory of a training run on one card: the maximum over the phases of a step, never their sum."""

from __future__ import annotations

from dataclasses import dataclass

from launcher.estimate.activations import attention_kept_bytes, backward_bytes, checkpoint_bytes, forward_bytes, saved_bytes, tail_bytes
from launcher.estimate.buffers import (
    cast_weights_bytes,
    dequantized_bytes,
    left_behind_bytes,
    mask_bytes,
    merged_experts_bytes,
    missing_gradients_bytes,
    whole_matrices_bytes,
)
from launcher.estimate.facts import Block, ModelFacts
from launcher.estimate.logits import forward_loss_bytes, held_bytes, loss_bytes
from launcher.estimate.part_of_model import part_of
from launcher.estimate.peak import Peak, Phase
from launcher.estimate.sharding import Resident, resident, whole_tensor_bytes
from launcher.estimate.weights import frozen_or_trained_bytes, largest_matrix
from launcher.estimate.workload import KEEPING, Workload

# cuBLAS takes 8.125 MiB of workspace per stream handle from torch's allocator, one handle in the forward and one in the backward thread
# (torch 2.13, aten/src/ATen/cuda/CublasHandlePool.cpp); four times that on Hopper, which the range covers.
CUBLAS_WORKSPACE = 2 * 8.125 * 2**20


def peak_of(facts: ModelFacts, workload: Workload) -> Peak:
    """The phases of one optimizer step of `workload` on the fullest card, optimizer states present."""
    facts = part_of(facts, workload)
    state = resident(facts, workload)
    build = _Phases(facts=facts, workload=workload, state=state)
    phases = [build.load(), build.logits(), build.first_backward(), build.last_backward(), build.step()]
    if workload.evaluates:
        phases.append(build.evaluation())
    if workload.sharding.shards_weights:
        phases.append(build.gather())
    if state.last_gradients:
        phases.append(build.ends_backward())
    if workload.generated:
        phases.append(build.generation())
    return Peak(phases=tuple(phases))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Phases:
    facts: ModelFacts
    workload: Workload
    state: Resident

    def load(self) -> Phase:
        """Weights on the card and the one tensor that is being converted. A base in few bits is packed whole on every card before FSDP 2 spreads it."""
        one, sharding = largest_matrix(self.facts), self.workload.sharding
        apart = 0.0
        if sharding.kind == "fsdp" and sharding.version == 2 and sharding.in_trainer and self.workload.quantization != "none":
            apart = max(0.0, frozen_or_trained_bytes(self.facts, self.workload) - self.state.weights)
        return self._phase("load", optimizer=False, buffers=one.d_in * one.d_out * 2.0 + apart)

    def logits(self) -> Phase:
        """The loss: every stored activation, and the logits."""
        tokens = self.workload.tokens
        stored = tokens * (self._stored() + tail_bytes(self.facts, self.workload)) + mask_bytes(self.workload)
        return self._phase(
            "logits",
            gradients=self._accumulated(),
            activations=stored,
            logits=loss_bytes(self.facts, self.workload),
            buffers=self.state.gathered_at_loss
            + cast_weights_bytes(self.workload, self.state)
            + merged_experts_bytes(self.facts, self.workload),
        )

    def first_backward(self) -> Phase:
        """The last layer's backward pass: all other layers' activations wait, the head's gradient exists."""
        facts, workload = self.facts, self.workload
        head = (
            facts.embedding_parameters * float(workload.weight_bytes)
            if workload.adapter is None and workload.loss != "labels" and not workload.sharding.shards_weights
            else 0.0
        )
        last = max(self._running(block) for _, block in facts.blocks)
        return self._phase(
            "backward, last layer",
            gradients=max(self._accumulated(), min(head, self.state.gradients)),
            activations=workload.tokens * (self._stored() + last) + mask_bytes(self.workload),
            logits=held_bytes(facts, workload),
            buffers=self.state.gather
            + self.state.whole_gradients
            + cast_weights_bytes(self.workload, self.state)
            + dequantized_bytes(self.facts, self.workload)
            + merged_experts_bytes(self.facts, self.workload)
            + whole_matrices_bytes(self.facts, self.workload),
        )

    def last_backward(self) -> Phase:
        """The first layer's backward pass: its activations alone, and every gradient."""
        workload = self.workload
        first = max(self._running(block) for _, block in self.facts.blocks)
        kept = workload.checkpointing in KEEPING
        alone = min(saved_bytes(self.facts, block, workload) for _, block in self.facts.blocks) if kept else 0.0
        if workload.checkpointing == "attention":
            alone = min(attention_kept_bytes(block, workload) for _, block in self.facts.blocks)
        stored = checkpoint_bytes(self.facts, workload) + alone + left_behind_bytes(self.facts, self.workload)
        return self._phase(
            "backward, first layer",
            gradients=max(self._accumulated(), self.state.gradients - missing_gradients_bytes(self.facts, self.workload, self.state)),
            activations=workload.tokens * (stored + first) + mask_bytes(self.workload),
            logits=held_bytes(self.facts, workload),
            buffers=self.state.gather
            + self.state.whole_gradients
            + dequantized_bytes(self.facts, self.workload)
            + whole_matrices_bytes(self.facts, self.workload),
        )

    def ends_backward(self) -> Phase:
        """The reduction of the gradients of embedding and head, when all layers are done."""
        return self._phase("backward, embeddings", gradients=self.state.gradients, buffers=self.state.last_gradients)

    def step(self) -> Phase:
        """The optimizer's update."""
        return self._phase("optimizer step", gradients=self.state.gradients, buffers=self.state.step)

    def evaluation(self) -> Phase:
        """One evaluation batch, forward only."""
        facts, workload = self.facts, self.workload
        tokens = workload.evaluation_tokens
        running = max(forward_bytes(facts, block, workload) for _, block in facts.blocks)
        # The layers have finished when the logits grow: the larger of the two counts.
        logits = forward_loss_bytes(facts, workload)
        activations = tokens * running
        if activations > logits:
            return self._phase(
                "evaluation", activations=activations, buffers=self.state.gather + dequantized_bytes(self.facts, self.workload)
            )
        return self._phase("evaluation", activations=tokens * float(facts.hidden * 6), logits=logits, buffers=self.state.gather)

    def gather(self) -> Phase:
        """A checkpoint's tensors made whole one after the other, each on its way to host memory, in the format they are held in."""
        return self._phase("checkpoint gather", buffers=whole_tensor_bytes(self.facts, self.workload))

    def generation(self) -> Phase:
        """The last token of the model's own answers: keys and values of every token before it, in every layer, and the logits of one token a row."""
        facts, workload = self.facts, self.workload
        rows = workload.generated
        cached = sum(
            count * (block.kv_width + block.kv_heads * block.value_dim) * min(block.window or workload.sequence, workload.sequence)
            for count, block in facts.blocks
        )
        # transformers' cache grows by concatenation: one layer's keys are alive twice.
        twice = max(block.kv_width * workload.sequence for _, block in facts.blocks)
        return self._phase(
            "generation",
            activations=rows * float(workload.compute_bytes) * (cached + twice),
            # fp32 logits, their warped copy and probabilities.
            logits=rows * facts.vocab * 12.0,
            buffers=self.state.gather + dequantized_bytes(self.facts, self.workload),
        )

    def _phase(
        self,
        name: str,
        *,
        optimizer: bool = True,
        gradients: float = 0.0,
        activations: float = 0.0,
        logits: float = 0.0,
        buffers: float = 0.0,
    ) -> Phase:
        workspace = CUBLAS_WORKSPACE if self.workload.device == "cuda" else 0.0
        return Phase(
            name=name,
            terms={
                "weights": self.state.weights,
                "adapter": self.state.adapter,
                "gradients": gradients,
                "optimizer": self.state.optimizer if optimizer else 0.0,
                "activations": activations,
                "logits": logits,
                "buffers": buffers + workspace,
            },
        )

    def _stored(self) -> float:
        """Bytes per token that wait for the backward pass in all layers."""
        facts, workload = self.facts, self.workload
        blocks = self._reached()
        layers = sum(count for count, _ in blocks)
        if workload.checkpointing == "full":
            return layers * checkpoint_bytes(facts, workload)
        if workload.checkpointing == "offload":
            return min(2, layers) * checkpoint_bytes(facts, workload)  # one layer's input on its way out, one on its way in
        if workload.checkpointing == "attention":
            return sum(count * (checkpoint_bytes(facts, workload) + attention_kept_bytes(block, workload)) for count, block in blocks)
        return sum(count * saved_bytes(facts, block, workload) for count, block in blocks)

    def _reached(self) -> list[tuple[int, Block]]:
        """The layers that a backward pass reaches, by kind."""
        passive = self.workload.passive_layers
        blocks = []
        for count, block in self.facts.blocks:
            skipped = min(count, passive)
            passive -= skipped
            blocks.append((count - skipped, block))
        return blocks

    def _running(self, block: Block) -> float:
        """Bytes per token of one layer's backward pass beyond what `_stored` counts."""
        whole = backward_bytes(self.facts, block, self.workload)
        if self.workload.checkpointing in KEEPING:
            return max(0.0, whole - saved_bytes(self.facts, block, self.workload))
        if self.workload.checkpointing == "attention":
            return whole - attention_kept_bytes(block, self.workload)
        return whole

    def _accumulated(self) -> float:
        """Gradients of earlier micro batches, alive through the forward pass of the next."""
        return self.state.of_earlier_batches if self.workload.accumulation > 1 else 0.0
