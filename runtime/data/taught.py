"""Conversations with what a teacher said of their tokens: its likeliest candidates for each, and how likely they were."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from runtime.config.problem import Problem, UserError
from runtime.data.chat import ChatStrategy
from runtime.data.tokens import IGNORED, TEACHER_IDS, TEACHER_SCORES, list_array

KIND = "axolotl.integrations.kd.chat_template"

# With so many trained tokens of which the teacher's candidates hold none, they are not the candidates of these tokens.
_ENOUGH_TO_TELL = 8
_TOKEN_ID = re.compile(r"token_id:(\d+)")

Candidates = tuple[Sequence[int], Sequence[float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class TaughtStrategy(ChatStrategy):
    """Conversations whose column `logprobs_field` has the teacher's candidates for the last tokens of the row, one entry a token.

    An entry is a list of log probabilities, whose token ids stand in the same place of `target_token_ids`, or a list of
    `{"token": "token_id:123", "logprob": -0.1}`; null or empty says nothing of its token. An entry describes the token it stands at, as a server's
    prompt log probabilities do. Entries end with the row, or with its last trained token where that fits the tokens better: templates put a line
    break behind an answer that the teacher never saw. `temperature` is the one the log probabilities were taken at; scores are kept at temperature 1.
    """

    logprobs_field: str = "logprobs"
    temperature: float = 1.0

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns a dataset must have."""
        return (self.shape.field_messages, self.logprobs_field)

    def encode(self, rows: Mapping[str, Sequence[Any]], indices: Sequence[int]) -> pa.Table:
        """Token ids, labels, candidates and scores of a batch of rows, the last two flat, as many a token as the row's longest entry.

        Raises UserError naming the row whose candidates cannot be those of its tokens.
        """
        # super() without arguments does not work in a class with slots that a dataclass makes anew.
        table = ChatStrategy.encode(self, rows, indices)
        said_ids = rows["target_token_ids"] if "target_token_ids" in rows else [None] * len(indices)
        ids, scores, lengths = [], [], []
        for row, said, tokens, labels, places in zip(
            indices,
            rows[self.logprobs_field],
            table.column("input_ids").to_pylist(),
            table.column("labels").to_pylist(),
            said_ids,
            strict=True,
        ):
            try:
                entries = _entries(said, places)
                block = _placed(entries, tokens, labels, self.temperature, len(self.tokenizer))
            except (ValueError, TypeError, KeyError) as error:
                fix = "write one entry for each token this model's tokenizer and chat template make of the row, or for its last ones"
                raise UserError(Problem(code="bad-row", message=f"row {row + 1}: `{self.logprobs_field}`: {error}", fix=fix)) from error
            ids.append(block[0].ravel())
            scores.append(block[1].ravel())
            lengths.append(block[0].size)
        sizes = np.array(lengths, dtype=np.int64)
        for name, parts, kind in ((TEACHER_IDS, ids, np.int32), (TEACHER_SCORES, scores, np.float32)):
            flat = np.concatenate([np.zeros(0, dtype=kind), *parts]).astype(kind)
            table = table.append_column(name, list_array(flat, sizes))
        return table


def _entries(said: Any, places: Any) -> list[Candidates]:
    """The entries of a row in one form: (token ids, log probabilities), both empty where the teacher said nothing."""
    if not isinstance(said, Sequence) or isinstance(said, str):
        raise ValueError("it is not a list with an entry for each token")
    if places is not None and len(places) != len(said):
        raise ValueError(f"there are {len(said)} entries and {len(places)} in `target_token_ids`")
    entries: list[Candidates] = []
    for number, entry in enumerate(said):
        if not entry:
            entries.append(((), ()))
        elif isinstance(entry[0], Mapping):
            entries.append(([_token_id(one["token"]) for one in entry], [float(one["logprob"]) for one in entry]))
        elif places is None:
            raise ValueError("plain numbers need a column `target_token_ids` that says whose they are")
        else:
            ids = [int(one) for one in places[number] or ()]
            if len(ids) != len(entry):
                raise ValueError(f"entry {number + 1} has {len(entry)} log probabilities and {len(ids)} token ids")
            entries.append((ids, [float(one) for one in entry]))
    return entries


def _token_id(text: Any) -> int:
    found = _TOKEN_ID.fullmatch(str(text))
    if found is None:
        raise ValueError(f"{text!r} does not say a token's id as `token_id:123` (vLLM: return_tokens_as_token_ids)")
    return int(found[1])


def _placed(
    entries: Sequence[Candidates], tokens: Sequence[int], labels: Sequence[int], temperature: float, vocabulary: int
) -> tuple[np.ndarray, np.ndarray]:
    """(tokens, widest entry) arrays of ids and scores, entries put at their tokens and filled up with scores of -inf."""
    if len(entries) > len(tokens):
        raise ValueError(f"there are {len(entries)} entries for {len(tokens)} tokens")
    width = max((len(ids) for ids, _ in entries), default=0)
    if not width:
        raise ValueError("no entry says anything")
    if any(not 0 <= token < vocabulary for ids, _ in entries for token in ids):
        raise ValueError(f"it names a token id that the tokenizer, with {vocabulary} tokens, does not have")
    trained = [place for place, label in enumerate(labels) if label != IGNORED]
    ends = {len(tokens)} | ({trained[-1] + 1} if trained and trained[-1] + 1 >= len(entries) else set())
    hits = {end: _hits(entries, tokens, trained, end - len(entries)) for end in ends}
    end = max(ends, key=lambda end: (hits[end][0], end))
    found, looked = hits[end]
    if not found and looked >= _ENOUGH_TO_TELL:
        raise ValueError(f"none of {looked} trained tokens is among the teacher's candidates for it: they belong to other tokens")
    ids = np.zeros((len(tokens), width), dtype=np.int32)
    scores = np.full((len(tokens), width), -math.inf, dtype=np.float32)
    for place, (candidates, logprobs) in enumerate(entries, start=end - len(entries)):
        ids[place, : len(candidates)] = candidates
        scores[place, : len(candidates)] = np.asarray(logprobs, dtype=np.float32) * temperature
    if np.isnan(scores).any() or (scores == math.inf).any():
        raise ValueError("a log probability is not a number")
    return ids, scores


def _hits(entries: Sequence[Candidates], tokens: Sequence[int], trained: Sequence[int], start: int) -> tuple[int, int]:
    """(trained tokens that are among their candidates, trained tokens with candidates) when the first entry stands at `start`."""
    looked = [(tokens[place], entries[place - start][0]) for place in trained if 0 <= place - start < len(entries)]
    looked = [(token, ids) for token, ids in looked if len(ids)]
    return sum(token in ids for token, ids in looked), len(looked)
