"""Many texts to token ids at once, with character offsets where a mask needs them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from runtime.config.problem import Problem, UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def encode(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], *, special: bool) -> list[list[int]]:
    """The ids of each text; with `special`, with what the tokenizer puts around a text (a beginning-of-text token, for many)."""
    if not texts:
        return []
    fast = getattr(tokenizer, "backend_tokenizer", None)
    if fast is None:
        encoded: list[list[int]] = tokenizer(list(texts), add_special_tokens=special)["input_ids"]
        return encoded
    return [encoding.ids for encoding in fast.encode_batch_fast(_plain(texts), add_special_tokens=special)]


def encode_with_offsets(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[Any]:
    """One `tokenizers.Encoding` a text, nothing added around it. Raises UserError when the tokenizer keeps no character offsets."""
    fast = getattr(tokenizer, "backend_tokenizer", None)
    if fast is None:
        raise UserError(
            Problem(
                code="unsupported",
                message=f"{type(tokenizer).__name__} does not say which characters a token came from, so a conversation cannot be masked exactly",
                path="tokenizer_use_fast",
                fix="use a fast tokenizer (remove `tokenizer_use_fast: false`, or give the model's tokenizer.json)",
            )
        )
    encodings: list[Any] = fast.encode_batch(_plain(texts), add_special_tokens=False)
    return encodings


def single_token(tokenizer: PreTrainedTokenizerBase, text: str) -> int | None:
    """The id `text` has when it is one token; None when it would be cut in pieces."""
    ids = tokenizer.encode(text, add_special_tokens=False)
    if len(ids) == 1:
        return int(ids[0])
    found = tokenizer.get_vocab().get(text)
    return int(found) if found is not None and text in tokenizer.get_added_vocab() else None


def token_span(encoding: Any, start: int, stop: int) -> tuple[int, int]:
    """First token and the one after the last that hold any of the characters `start` to `stop` (not included); equal when none does."""
    first = last = None
    for position in range(start, stop):
        first = encoding.char_to_token(position)
        if first is not None:
            break
    for position in range(stop - 1, start - 1, -1):
        last = encoding.char_to_token(position)
        if last is not None:
            break
    if first is None or last is None:
        return 0, 0
    end = last + 1
    # One character can be several tokens (bytes of an emoji); char_to_token gives the first of them.
    while end < len(encoding) and (chars := encoding.token_to_chars(end)) is not None and chars[0] < stop:
        end += 1
    return first, end


def _plain(texts: Sequence[str]) -> list[str]:
    return [str.__str__(text) if type(text) is not str else text for text in texts]
