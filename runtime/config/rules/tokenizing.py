"""Rules about tokens that are added or renamed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from runtime.config.finding import Finding
from runtime.config.schema import TrainingConfig


def overrides_differ(config: TrainingConfig) -> Iterator[Finding]:
    """A text stands for one token, and token ids count from 0."""
    overrides = config.added_tokens_overrides or {}
    for text, number in Counter(overrides.values()).items():
        if number > 1:
            ids = ", ".join(str(token) for token, name in overrides.items() if name == text)
            message = f"added_tokens_overrides gives several tokens the text {text!r}: {ids}"
            yield Finding(code="conflict", path=("added_tokens_overrides",), message=message, fix="A text belongs to one token.")
    for token in overrides:
        if token < 0:
            message = f"added_tokens_overrides[{token}]: token ids count from 0"
            yield Finding(code="out-of-range", path=("added_tokens_overrides", token), message=message, fix="Take an id of the tokenizer.")


def overrides_are_not_added(config: TrainingConfig) -> Iterator[Finding]:
    """A token that takes a reserved one's place is not added a second time."""
    for text in config.tokens or ():
        if text in (config.added_tokens_overrides or {}).values():
            message = f"{text!r} takes the place of a reserved token in 'added_tokens_overrides', and is added once more by 'tokens'"
            yield Finding(
                code="conflict", path=("tokens",), involves=("added_tokens_overrides",), message=message, fix="Remove it from 'tokens'."
            )


RULES = (overrides_differ, overrides_are_not_added)
