"""Options of the data: where rows come from, how a row becomes a prompt, what of it is trained."""

from typing import Any, Literal

from pydantic import Field

from runtime.config.section import Section

EndTokens = Literal["all", "turn", "last", "none"]


class PromptFormat(Section):
    """A prompt of your own: which columns hold what, and the text around them. The second half serves preference methods (`rl`)."""

    system_prompt: str | None = Field(None, description="System text for rows that have none.")
    system_format: str | None = Field(None, description="Text around the system prompt; `{system}` is replaced. Default: the prompt alone.")
    field_system: str | None = Field(None, description="Column of the system prompt. Default: `system`.")
    field_instruction: str | None = Field(None, description="Column of the instruction. Default: `instruction`.")
    field_input: str | None = Field(None, description="Column of the additional input. Default: `input`.")
    field_output: str | None = Field(None, description="Column of the answer that is trained. Default: `output`.")
    format: str | None = Field(
        None, description="Prompt text; `{instruction}` and `{input}` are replaced. Default: `{instruction} {input} `."
    )
    no_input_format: str | None = Field(
        None,
        description="Prompt text for rows without an input; `{instruction}` is replaced, `{input}` has no place here. Default: `format`.",
    )
    field_prompt: str | None = Field(None, description="Preference data: column of the prompt. Default: `prompt`.")
    field_chosen: str | None = Field(None, description="Preference data: column of the preferred answer. Default: `chosen`.")
    field_rejected: str | None = Field(None, description="Preference data: column of the other answer. Default: `rejected`.")
    field_completion: str | None = Field(None, description="KTO: column of the judged answer. Default: `completion`.")
    field_label: bool | str | None = Field(None, description="KTO: column of the judgement. Default: `label`.")
    prompt_format: str | None = Field(None, description="Preference data: text around `{prompt}` and `{system}`.")
    chosen_format: str | None = Field(None, description="Preference data: text around `{chosen}`.")
    rejected_format: str | None = Field(None, description="Preference data: text around `{rejected}`.")
    completion_format: str | None = Field(None, description="KTO: text around `{completion}`.")


class DatasetSource(Section):
    """One source of rows."""

    path: str | None = Field(
        None,
        description="Where the rows are: a Hugging Face dataset id, a local file or folder, an `s3://` or `gs://` address, or a loader name such as `json` with `data_files`.",
    )
    name: str | None = Field(None, description="Configuration of the dataset, for datasets that have several.")
    split: str | None = Field(None, description="Split to take, slices included: `train`, `train[:5%]`. Default: `train`.")
    type: str | PromptFormat | None = Field(
        None,
        description="How a row becomes a prompt: the name of a prompt strategy (`chat_template`, `alpaca`, `completion`, …) or a mapping with columns and texts of your own. Unset: rows are already tokenized.",
    )
    ds_type: str | None = Field(
        None, description="File format when `path` is a file: `json`, `csv`, `parquet`, `arrow` or `text`. Default: from the file's ending."
    )
    data_files: str | list[str] | None = Field(None, description="Files to load, inside `path` or on their own.")
    revision: str | None = Field(
        None, description="Branch, tag or commit of a dataset on the Hub. A commit makes a run repeatable. No meaning for local files."
    )
    trust_remote_code: bool | None = Field(
        False, description="Run Python code that comes with the dataset. Off by default: it is other people's code."
    )
    shards: int | None = Field(
        None, ge=1, description="Cut the dataset into this many parts and take one of them: a quick way to a smaller set."
    )
    shards_idx: int | None = Field(None, ge=0, description="Which of those parts to take, from 0. Default: 0.")
    preprocess_shards: int | None = Field(
        None,
        ge=1,
        description="Process the dataset in this many parts, one after the other, to need less memory. Rows always go to disk in small batches here, so nothing is left to gain. Not together with `shards`.",
    )
    weight: float | None = Field(
        None,
        gt=0,
        le=1,
        description="Share of this dataset's rows that is used, drawn by the seed before anything is tokenized: 0.02 takes 2 % of a large set into a mixture. Default: 1, all of them.",
    )
    input_transform: str | None = Field(None, description="Import path of a function that changes each row first.")
    input_format: str | None = Field(None, description="Format of the instruction text for strategies that have several.")
    conversation: str | None = Field(None, description="Conversation style of the removed `sharegpt` type; use `chat_template`.")
    field: str | None = Field(None, description="Column of the text for `type: completion`. Default: `text`.")
    field_human: str | None = Field(None, description="Name that marks the user's turns in the removed `sharegpt` type; use `roles`.")
    field_model: str | None = Field(None, description="Name that marks the model's turns in the removed `sharegpt` type; use `roles`.")
    field_messages: str | None = Field(None, description="Column of the list of messages. Default: `messages`.")
    field_system: str | None = Field(
        None, description="Column of a system message that stands outside the list of messages. Default: `system`."
    )
    field_tools: str | None = Field(None, description="Column of the tools (a list of JSON schemas) the model may call. Default: `tools`.")
    field_thinking: str | None = Field(None, description="Key of the reasoning trace in a message. Default: `reasoning_content`.")
    field_chosen: str | None = Field(
        None, description="Column of the preferred answer in preference data with messages. Default: `chosen`."
    )
    field_rejected: str | None = Field(
        None, description="Column of the other answer in preference data with messages. Default: `rejected`."
    )
    template_thinking_key: str | None = Field(
        None, description="Name under which the chat template expects the reasoning trace. Default: `reasoning_content`."
    )
    split_thinking: bool | None = Field(
        None,
        description="Take a reasoning trace between tags such as <think> out of the answer and hand it to the template as its own part.",
    )
    message_field_role: str | None = Field(
        None, description="Older way to name the key of a message's role; `message_property_mappings` is the current one."
    )
    message_field_content: str | None = Field(
        None, description="Older way to name the key of a message's content; `message_property_mappings` is the current one."
    )
    message_property_mappings: dict[str, str] | None = Field(
        None,
        description="What the chat template calls a property, and which key of the message holds it. Default: `{role: role, content: content}`; ShareGPT data need `{role: from, content: value}`.",
    )
    message_field_training: str | None = Field(
        None, description="Key of a message that says, true or false, whether this turn is trained. Wins over `roles_to_train`."
    )
    message_field_training_detail: str | None = Field(
        None,
        description="Key of a message with a list of `begin_offset`, `end_offset` (characters, both included) and `train`: trains parts of a turn.",
    )
    chat_template: str | None = Field(
        None, description="Chat template for this dataset alone; same values as the top-level option. Default: that one."
    )
    chat_template_jinja: str | None = Field(None, description="Jinja text or file for this dataset alone.")
    roles: dict[str, list[str]] | None = Field(
        None,
        description="Names of roles in the data, by the role they stand for. Default: `user: [human, user]`, `assistant: [gpt, assistant]`, `system: [system]`, `tool: [tool]`.",
    )
    roles_to_train: list[str] | None = Field(
        None,
        description="Roles whose turns are trained. Default: `[assistant]`. An empty list trains nothing unless messages say so themselves.",
    )
    train_on_eos: EndTokens | None = Field(
        None,
        description="Which end-of-text tokens are trained: of `all` turns, at the end of each trained `turn` (default), only the `last`, or `none`.",
    )
    train_on_eot: EndTokens | None = Field(
        None, description="The same choice for the end-of-turn tokens of `eot_tokens`. Default: as `train_on_eos`."
    )
    drop_system_message: bool | None = Field(
        None, description="Leave system turns of the data out. A default system message inside the template stays."
    )
    logprobs_field: str | None = Field(
        None,
        description="Distillation: column with the teacher's log probabilities, one entry for each of the row's last tokens: a list of numbers, with their token ids in the column `target_token_ids`, or a list of `{token: 'token_id:5', logprob: -0.1}`. Default: `logprobs`.",
    )
    temperature: float | None = Field(
        None, gt=0, description="Distillation: temperature at which the teacher's log probabilities were taken. Default: 1."
    )
    step_separator: str | None = Field(None, description="Stepwise rewards: text between two steps. Default: a line break.")
    max_completion_length: int | None = Field(None, ge=1, description="Stepwise rewards: tokens of the steps that are kept.")
    train_on_last_step_only: bool | None = Field(None, description="Stepwise rewards: only the last step of an answer is judged.")


class PretrainingSource(DatasetSource):
    """One source of plain text for pretraining, read as a stream."""

    split: str | None = Field("train", description="Split to take.")
    text_column: str | None = Field("text", description="Column of the text.")
    type: str | PromptFormat | None = Field("pretrain", description="How a row becomes tokens; `pretrain` cuts plain text into windows.")
    skip: int | None = Field(None, ge=0, description="Rows to pass over at the start of the stream.")


class DatasetOptions:
    """Where the data come from and how they are prepared."""

    datasets: list[DatasetSource] | None = Field(None, min_length=1, description="The training data: one or more sources, joined.")
    test_datasets: list[DatasetSource] | None = Field(
        None, min_length=1, description="Data that are only evaluated on. Either these, or a `val_set_size` taken from the training data."
    )
    pretraining_dataset: list[PretrainingSource] | None = Field(
        None, min_length=1, description="Plain text to pretrain on, streamed and never fully downloaded. Needs `max_steps`."
    )
    val_set_size: float | None = Field(
        0.0,
        ge=0,
        description="Rows set aside for evaluation: below 1 a share of the data, from 1 on a number of rows. 0: no evaluation split.",
    )
    shuffle_merged_datasets: bool | None = Field(
        True, description="Shuffle the joined rows. False keeps the order of the sources and of their rows."
    )
    shuffle_before_merging_datasets: bool | None = Field(
        False, description="Shuffle every source on its own before joining: with unshuffled joining, a curriculum by source."
    )
    dataset_prepared_path: str | None = Field(
        None, description="Folder of the tokenized data, found again by content at the next start. Default: a cache folder of the run."
    )
    dataset_num_proc: int | None = Field(None, ge=1, description="Processes that prepare the data. Default: one for each processor core.")
    dataset_shard_num: int | None = Field(None, ge=1, description="Cut the joined data into this many parts and train on one.")
    dataset_shard_idx: int | None = Field(None, ge=0, description="Which of those parts, from 0.")
    num_dataset_shards_to_save: int | None = Field(
        None, ge=1, description="Number of files the prepared data are stored in. Default: by size."
    )
    dataset_exact_deduplication: bool | None = Field(
        None,
        description="Drop rows whose tokens are identical to an earlier row's, in training and evaluation data, and training rows out of the evaluation data.",
    )
    dataset_keep_in_memory: bool | None = Field(
        None, description="Prepare the data in memory instead of on disk; only sensible when disk space is short."
    )
    skip_prepare_dataset: bool | None = Field(
        False,
        description="Hand the rows to the trainer as they are; for data prepared elsewhere and for vision models, which prepare each batch.",
    )
    push_dataset_to_hub: str | None = Field(
        None,
        description="Dataset repository on the Hub, `owner/name`, that gets the prepared rows as parquet files in `data/`, in place of those there, after `preprocess`, and after a training that had to prepare them. Made if need be, private unless `launch.publish.private` says otherwise; needs a token that may write.",
    )
    hf_use_auth_token: bool | None = Field(None, description="Use the Hub token when loading datasets: needed for private ones.")
    train_on_inputs: bool | None = Field(
        False, description="Also train on prompts, not only on answers. Off: the loss counts what the model is to say itself."
    )
    role_boundaries: list[dict[str, Any]] | None = Field(
        None, description="Marks of where turns begin and end, for templates where they cannot be found by themselves."
    )
    streaming: bool | None = Field(None, description="Read the training data as a stream instead of preparing all of it first.")
    streaming_multipack_buffer_size: int | None = Field(10_000, ge=1, description="Rows of a stream that are packed together.")
    pretrain_multipack_buffer_size: int | None = Field(
        None, ge=1, description="Older name of the stream's packing buffer, for pretraining."
    )
    pretrain_multipack_attn: bool | None = Field(True, description="Keep texts that share a pretraining row from attending to each other.")
    pretraining_sample_concatenation: bool | None = Field(None, description="Join texts into full windows while pretraining.")
    balance_labels: bool = Field(False, description="Even out how often each label is trained on.")
    label_balance_window_optim_steps: int = Field(1, ge=1, description="Optimizer steps over which labels are evened out.")
