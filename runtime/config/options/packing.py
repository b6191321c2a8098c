"""Options of sequence length, packing and batches."""

from typing import Literal

from pydantic import Field


class PackingOptions:
    """How tokenized rows become batches."""

    sequence_len: int = Field(
        512, ge=1, description="Longest row in tokens; with packing, the length of every packed row. Activation memory grows with it."
    )
    eval_sequence_len: int | None = Field(None, ge=1, description="Longest row of the evaluation data. Default: `sequence_len`.")
    max_prompt_len: int | None = Field(None, ge=1, description="Longest prompt in tokens for preference methods.")
    excess_length_strategy: Literal["drop", "truncate", "raise"] | None = Field(
        None,
        description="What happens to longer rows: `drop` (default) leaves them out and counts them, `truncate` cuts their end, `raise` stops.",
    )
    min_sample_len: int | None = Field(
        None, ge=0, description="Rows with fewer tokens are left out. Default: 2, the shortest row with something to predict."
    )
    sample_packing: bool | None = Field(
        None,
        description="Put several rows into one of `sequence_len` tokens, kept apart by positions. Several times faster on short rows; needs an attention that respects the borders.",
    )
    sample_packing_group_size: int | None = Field(
        100_000, ge=1, description="Rows packed at a time. More packs a little tighter and uses more memory."
    )
    sample_packing_bin_size: int | None = Field(
        200, ge=1, description="Most rows in one packed row. Raise it for very long rows of very short samples."
    )
    sample_packing_sequentially: bool | None = Field(
        None, description="Pack rows in their order instead of best fit: keeps a curriculum, wastes more."
    )
    sample_packing_mp_start_method: Literal["fork", "spawn", "forkserver"] | None = Field(
        None, description="How processes that pack are started. Packing takes one process here."
    )
    eval_sample_packing: bool | None = Field(None, description="Pack the evaluation data too. Default: as `sample_packing`.")
    pad_to_sequence_len: bool | None = Field(
        None, description="Fill every batch to `sequence_len`, so that all steps use the same memory. Default: yes with packing."
    )
    pad_to_multiple_of: int | None = Field(None, ge=1, description="Fill batches to a multiple of this many tokens.")
    group_by_length: bool | None = Field(
        None, description="Batch rows of similar length: less padding, but the loss swings from batch to batch."
    )
    curriculum_sampling: bool | None = Field(None, description="Show rows in their order instead of shuffled.")
    multipack_real_batches: bool | None = Field(
        None,
        description="With packing, keep the packed rows of a micro batch as rows (true) or put them behind each other into one long row (false). Default: rows, and one long row for flash attention, which sees the borders of samples only there.",
    )
    batch_flattening: Literal["auto"] | bool | None = Field(
        None, description="Without packing, join the rows of a batch into one without padding, for flash attention."
    )
    use_pose: bool | None = Field(None, description="PoSE: teach long contexts with short rows by skipping positions.")
    pose_split_on_token_ids: list[int] | None = Field(None, description="PoSE: tokens at which a row may be cut into chunks.")
    pose_max_context_len: int | None = Field(None, ge=1, description="PoSE: the context length to teach.")
    pose_num_chunks: int | None = Field(None, ge=1, description="PoSE: chunks a row is cut into.")
    dataloader_pin_memory: bool | None = Field(
        None, description="Batches wait in page-locked host memory, from which copies to a GPU are faster. Default: yes."
    )
    dataloader_num_workers: int | None = Field(
        None, ge=0, description="Processes that read batches ahead. 0 reads in the training process."
    )
    dataloader_prefetch_factor: int | None = Field(
        None, ge=1, description="Batches each of those processes reads ahead. Needs at least one worker."
    )
    dataloader_drop_last: bool | None = Field(None, description="Leave out a last batch that is not full.")
    remove_unused_columns: bool | None = Field(None, description="Drop columns the model does not take before batching.")
