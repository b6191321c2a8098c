"""Rules about data sources and prompts."""

from __future__ import annotations

import string
from collections.abc import Iterator

from runtime.config.document import Path
from runtime.config.finding import Finding
from runtime.config.given import given
from runtime.config.options.datasets import DatasetSource
from runtime.config.schema import TrainingConfig

# Settings of one dataset that only `type: chat_template` looks at.
CHAT_ONLY = (
    "field_messages",
    "field_tools",
    "field_thinking",
    "template_thinking_key",
    "split_thinking",
    "message_field_role",
    "message_field_content",
    "message_property_mappings",
    "message_field_training",
    "message_field_training_detail",
    "roles",
    "roles_to_train",
    "train_on_eos",
    "train_on_eot",
    "drop_system_message",
    "chat_template",
    "chat_template_jinja",
)

# What each text of a prompt of your own fills in. A row without an input has nothing for {input}, which another rule says better.
PLACEHOLDERS = {"format": ("instruction", "input"), "no_input_format": ("instruction", "input"), "system_format": ("system",)}


def _sources(config: TrainingConfig) -> Iterator[tuple[str, int, DatasetSource]]:
    for option, sources in (("datasets", config.datasets), ("test_datasets", config.test_datasets)):
        for index, source in enumerate(sources or ()):
            yield option, index, source


def some_data(config: TrainingConfig) -> Iterator[Finding]:
    """There is something to train on."""
    if not config.datasets and not config.pretraining_dataset:
        yield Finding(
            code="missing",
            path=("datasets",),
            involves=("pretraining_dataset",),
            message="'datasets' is missing: there is nothing to train on",
            fix="Add `datasets:` with a `path` and a `type`.",
        )


def paths_given(config: TrainingConfig) -> Iterator[Finding]:
    """Every source says where its rows are."""
    for option, index, source in _sources(config):
        if not source.path and source.type != "_synthetic":
            yield Finding(
                code="missing",
                path=(option, index, "path"),
                message=f"'{option}[{index}].path' is missing",
                fix="Name a dataset on the Hub, a file or a folder.",
            )


def shard_chosen(config: TrainingConfig) -> Iterator[Finding]:
    """A part of a dataset is one of its parts."""
    for option, index, source in _sources(config):
        if source.shards_idx is None:
            continue
        if source.shards is None:
            yield Finding(
                code="missing",
                path=(option, index, "shards"),
                message=f"'{option}[{index}].shards_idx' needs 'shards', the number of parts",
                fix="Add `shards`.",
            )
        elif source.shards_idx >= source.shards:
            message = f"{option}[{index}].shards_idx must be below shards ({source.shards}), found {source.shards_idx}"
            yield Finding(code="out-of-range", path=(option, index, "shards_idx"), message=message, fix="Parts are counted from 0.")


def shards_or_chunks(config: TrainingConfig) -> Iterator[Finding]:
    """A dataset is cut for training or for processing, not both."""
    for option, index, source in _sources(config):
        if source.shards and source.preprocess_shards:
            yield Finding(
                code="conflict",
                path=(option, index, "preprocess_shards"),
                message="'shards' and 'preprocess_shards' exclude each other",
                fix="Keep one of them.",
            )


def chat_settings_used(config: TrainingConfig) -> Iterator[Finding]:
    """Settings for messages stand at a dataset of messages."""
    for option, index, source in _sources(config):
        said = [name for name in CHAT_ONLY if name in source.model_fields_set]
        if source.type is None and said and not (config.rl or config.reward_model):
            yield Finding(
                code="missing",
                path=(option, index, "type"),
                message=f"'{option}[{index}].type' is missing: rows without one are tokenized already, and '{said[0]}' is for messages",
                fix="Add `type: chat_template`.",
            )
        # A type that is gone is told by its name, and what belonged to it needs no word more.
        if (
            source.type in ("chat_template", None)
            or str(source.type).startswith("sharegpt")
            or (isinstance(source.type, str) and "." in source.type)
        ):
            continue
        kind = source.type if isinstance(source.type, str) else "a prompt of your own"
        for name in said:
            message = f"'{option}[{index}].{name}' has no effect: it belongs to `type: chat_template`, and the type is {kind}"
            yield Finding(code="conflict", path=(option, index, name), message=message, fix="Remove it, or change the type.")


def completion_field_used(config: TrainingConfig) -> Iterator[Finding]:
    """`field` stands at a dataset of plain text."""
    for option, index, source in _sources(config):
        if source.field is not None and source.type is not None and source.type != "completion":
            message = f"'{option}[{index}].field' has no effect: it belongs to `type: completion`"
            yield Finding(code="conflict", path=(option, index, "field"), message=message, fix="Remove it, or change the type.")


def prompt_placeholders(config: TrainingConfig) -> Iterator[Finding]:
    """A prompt of your own holds what it needs."""
    for option, index, source in _sources(config):
        form = source.type
        if form is None or isinstance(form, str):
            continue
        if form.format is not None and "{instruction}" not in form.format and "{input}" not in form.format:
            message = "the prompt format holds neither {instruction} nor {input}: every prompt would be the same"
            yield Finding(
                code="conflict",
                path=(option, index, "type", "format"),
                message=message,
                fix="Put {instruction} where the instruction belongs.",
            )
        if form.no_input_format is not None and "{input}" in form.no_input_format:
            message = "'no_input_format' is for rows without an input and holds {input}"
            yield Finding(code="conflict", path=(option, index, "type", "no_input_format"), message=message, fix="Remove {input} from it.")


def prompt_braces(config: TrainingConfig) -> Iterator[Finding]:
    """Braces in a prompt of your own name something that is filled in."""
    for option, index, source in _sources(config):
        if source.type is None or isinstance(source.type, str):
            continue
        for name, allowed in PLACEHOLDERS.items():
            text = getattr(source.type, name)
            unknown = _unknown_braces(text, allowed) if text is not None else ""
            if unknown:
                message = f"'{option}[{index}].type.{name}' has braces that nothing fills: {unknown}"
                fix = f"Use {' and '.join(f'{{{word}}}' for word in allowed)}; write a brace that is part of the text twice."
                yield Finding(code="wrong-type", path=(option, index, "type", name), message=message, fix=fix)


def _unknown_braces(text: str, allowed: tuple[str, ...]) -> str:
    try:
        used = {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}
    except ValueError as error:
        return str(error)
    return ", ".join(f"{{{name}}}" for name in sorted(used.difference(allowed)))


def something_trained(config: TrainingConfig) -> Iterator[Finding]:
    """An empty list of roles trains nothing."""
    for option, index, source in _sources(config):
        if (
            source.roles_to_train == []
            and not source.message_field_training
            and not source.message_field_training_detail
            and not config.train_on_inputs
        ):
            message = f"'{option}[{index}].roles_to_train' is empty and no message says for itself that it is trained: nothing would be"
            yield Finding(code="conflict", path=(option, index, "roles_to_train"), message=message, fix="Name a role, usually [assistant].")


def template_written(config: TrainingConfig) -> Iterator[Finding]:
    """`chat_template: jinja` and `chat_template_jinja` go together."""
    places: list[tuple[Path, str | None, str | None]] = [((), config.chat_template, config.chat_template_jinja)]
    places += [((option, index), source.chat_template, source.chat_template_jinja) for option, index, source in _sources(config)]
    for path, name, text in places:
        if name == "jinja" and not text and not (path and config.chat_template_jinja):
            yield Finding(
                code="missing",
                path=(*path, "chat_template_jinja"),
                involves=("chat_template",),
                message="`chat_template: jinja` needs 'chat_template_jinja'",
                fix="Give the template as text or as the path of a .jinja file.",
            )
        elif text and name not in (None, "jinja"):
            message = f"'chat_template_jinja' has no effect: chat_template is '{name}'"
            yield Finding(
                code="conflict",
                path=(*path, "chat_template_jinja"),
                message=message,
                fix="Set `chat_template: jinja`, or remove the template text.",
            )


def stream_has_end(config: TrainingConfig) -> Iterator[Finding]:
    """A stream has no length, so the run needs one."""
    if (config.pretraining_dataset or config.streaming) and config.max_steps is None:
        yield Finding(
            code="missing",
            path=("max_steps",),
            involves=("pretraining_dataset", "streaming"),
            message="'max_steps' is missing: a stream of data has no known end",
            fix="Say how many optimizer steps to train.",
        )


def validation_size(config: TrainingConfig) -> Iterator[Finding]:
    """A validation split leaves rows to train on."""
    size = config.val_set_size or 0
    if size == 1:
        yield Finding(
            code="out-of-range",
            path=("val_set_size",),
            message="val_set_size is 1, all of the data: nothing would be left to train on",
            fix="Write a share below 1, or a number of rows above it.",
        )
    elif size > 1 and not float(size).is_integer():
        yield Finding(
            code="out-of-range",
            path=("val_set_size",),
            message=f"val_set_size must be a share below 1 or a whole number of rows, found {size}",
            fix="0.05 sets aside a twentieth of the rows.",
        )


def whole_shard_chosen(config: TrainingConfig) -> Iterator[Finding]:
    """The place of a part among the parts of the whole data."""
    if given(config, "dataset_shard_idx") and config.dataset_shard_num is None:
        yield Finding(
            code="missing",
            path=("dataset_shard_num",),
            involves=("dataset_shard_idx",),
            message="'dataset_shard_idx' needs 'dataset_shard_num', the number of parts",
            fix="Add it.",
        )


RULES = (
    some_data,
    paths_given,
    shard_chosen,
    shards_or_chunks,
    chat_settings_used,
    completion_field_used,
    prompt_placeholders,
    prompt_braces,
    something_trained,
    template_written,
    stream_has_end,
    validation_size,
    whole_shard_chosen,
)
