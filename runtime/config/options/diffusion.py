"""Options of decision training with diffusion language models."""

from typing import Any, Literal

from pydantic import Field

from runtime.config.section import Section


class DiffusionDecision(Section):
    """Answers to closed questions from one denoising step. The inner sections are free mappings."""

    enabled: bool | None = Field(None, description="Turn it on.")
    allow_manifest_mismatch: bool | None = Field(None, description="Accept prepared data made with other settings.")
    answer_format: Literal["auto", "lines", "indexed"] | None = Field(None, description="How answers are laid out.")
    brier_weight: float | None = Field(None, ge=0, description="Weight of the Brier score in the loss.")
    canvas_prefix_ids: list[int] | None = Field(None, description="Tokens at the start of the canvas.")
    carry: dict[str, Any] | None = Field(None, description="What one step hands to the next.")
    codebook: Literal["vendored26", "expanded52", "expanded128", "expanded255"] | None = Field(None, description="Set of answer labels.")
    decontaminate: bool | None = Field(None, description="Leave rows of the evaluation data out of the training data.")
    free_update_policy: Literal["argmax"] | None = Field(None, description="How free slots are filled.")
    full_ce_weighting: Literal["ce", "dft"] | None = Field(None, description="Weight of tokens in the full loss.")
    hard_label_smoothing: float | None = Field(None, ge=0, le=1, description="Share taken from certain labels.")
    image_cache_size: int | None = Field(None, ge=0, description="Images kept in memory.")
    label_shuffle_prob: float | None = Field(None, ge=0, le=1, description="How often labels change places.")
    label_softmax: Literal["restricted", "full", "both"] | None = Field(None, description="Tokens the probability is taken over.")
    labels: dict[str, Any] | None = Field(None, description="Labels of answers.")
    latent: dict[str, Any] | None = Field(None, description="Slots without a visible answer.")
    layout: Literal["thought_block", "prompt_slots"] | None = Field(None, description="Where slots stand.")
    loss_weight: dict[str, float] | None = Field(None, description="Weight of each part of the loss.")
    max_examples_per_source: int | dict[str, int] | None = Field(None, description="Most rows of each source.")
    max_image_size: int | None = Field(None, ge=1, description="Largest image side, in pixels.")
    max_questions_per_canvas: int | None = Field(None, ge=1, description="Most questions answered together.")
    mixture: dict[str, Any] | None = Field(None, description="How sources are mixed.")
    mode: Literal["none", "pad", "pinned", "learned", "free", "mask", "prompt"] | None = Field(None, description="Kind of slots.")
    num_slots: int | None = Field(None, ge=0, description="Number of slots.")
    per_batch_stratified: bool | None = Field(None, description="Every batch has every source.")
    premixed: bool | None = Field(None, description="The data are mixed already.")
    prepared_cache_verify: bool | None = Field(None, description="Check the prepared data before use.")
    read_fraction: float | None = Field(None, ge=0, le=1, description="Share of rows that read their own slots.")
    read_overflow_canvas_width: int | None = Field(None, ge=1, description="Canvas width beyond which reading is left out.")
    sample_num_slots: bool | None = Field(None, description="Draw the number of slots at random.")
    temperature: float | None = Field(None, gt=0, description="Softness of the mixture.")
    token_ids: list[int] | None = Field(None, description="Tokens that serve as slots.")
    weights: dict[str, float] | None = Field(None, description="Weight of each source.")


class DiffusionOptions:
    """Diffusion language models."""

    diffusion_lm: dict[str, Any] | None = Field(None, description="Training of a diffusion language model.")
    diffusion: dict[str, Any] | None = Field(None, description="Older section of the same training.")
    diffusion_decision: DiffusionDecision | None = Field(None, description="Decision training with such a model.")
