"""The model's own words in the middle of training: what a validation row asks, what it expects, and what the model writes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from runtime.data.tokens import IGNORED
from runtime.training.processes import Rank

if TYPE_CHECKING:
    import torch

Ids = list[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Token ids of a prompt and of the answer that the data have for it."""

    prompt: Ids
    expected: Ids


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A question and the model's answer to it, as text."""

    prompt: str
    expected: str
    answer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Writing:
    """How answers are written: `max_new_tokens` at most, drawn at random with `temperature` or, without `do_sample`, always the likeliest token."""

    max_new_tokens: int
    do_sample: bool = False
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None

    def settings(self) -> dict[str, Any]:
        """Arguments of transformers' `generate`. The model's own sampling defaults do not come through, so a recipe means the same for every model."""
        if not self.do_sample:
            return {"max_new_tokens": self.max_new_tokens, "do_sample": False, "temperature": None, "top_p": None, "top_k": None}
        return {
            "max_new_tokens": self.max_new_tokens,
            "do_sample": True,
            "temperature": 1.0 if self.temperature is None else self.temperature,
            "top_p": 1.0 if self.top_p is None else self.top_p,
            "top_k": self.top_k or 0,
        }


def questions(rows: Any, count: int | None, *, ratio: float | None = None) -> list[Question]:
    """Questions from the first `count` rows that have one (None: all rows), always the same, so that answers can be compared over a run.

    A question is everything before the first learnt token; where all is learnt, or `ratio` is given, that share of the row (half of it without one).
    Of a packed row, its first sample is taken.
    """
    found: list[Question] = []
    for row in _first_samples(rows):
        question = _question(*row, ratio)
        if question is not None:
            found.append(question)
        if count is not None and len(found) == count:
            break
    return found


def write_answers(
    model: Any,
    tokenizer: Any,
    asked: Sequence[Question],
    writing: Writing,
    *,
    batch: int,
    rank: Rank,
    seed: int,
    spread: bool = False,
    before_batch: Callable[[], None] = lambda: None,
) -> list[Answer]:
    """The model's answers, in the order of `asked`; the processes share the work and all get all of them.

    `spread` says that the model's weights are spread over the processes. `before_batch` is called before each batch, equally often on every process. The random state of the process is moved: save it around the call.
    """
    import torch

    torch.manual_seed(seed)
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    mine = list(range(rank.index, len(asked), rank.world_size))
    rounds = math.ceil(math.ceil(len(asked) / rank.world_size) / batch)
    written: dict[int, Ids] = {}
    with _answering(model), torch.no_grad():
        for number in range(rounds):
            before_batch()
            chosen = mine[number * batch : (number + 1) * batch]
            # A process that has no row left writes an answer once more: a model spread over processes computes only when all of them do.
            ids, mask = _left_padded([asked[index].prompt for index in chosen or [0]], pad or 0, model.device)
            output = model.generate(
                input_ids=ids,
                attention_mask=mask,
                pad_token_id=pad,
                use_cache=True,
                return_dict_in_generate=False,
                # Nor may one of them be done with its answer before the others.
                synced_gpus=spread,
                **writing.settings(),
            )
            written |= zip(chosen, output[: len(chosen), ids.shape[1] :].tolist(), strict=True)
    together = {index: row for part in rank.gather(written) for index, row in part.items()}
    return [
        Answer(
            prompt=_text(tokenizer, question.prompt), expected=_text(tokenizer, question.expected), answer=_text(tokenizer, together[index])
        )
        for index, question in enumerate(asked)
    ]


@contextmanager
def _answering(model: Any) -> Iterator[None]:
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


def _first_samples(rows: Any) -> Iterator[tuple[Ids, Ids]]:
    for row in rows:
        ids, labels = (np.asarray(row[name]).tolist() for name in ("input_ids", "labels"))
        places = row.get("position_ids")
        if places is not None:
            starts = np.flatnonzero(np.asarray(places) == 0)
            end = int(starts[1]) if len(starts) > 1 else len(ids)
            ids, labels = ids[:end], labels[:end]
        yield ids, labels


def _question(ids: Ids, labels: Ids, ratio: float | None) -> Question | None:
    learnt = next((index for index, label in enumerate(labels) if label != IGNORED), None)
    if learnt is None:
        return None
    if ratio is None and learnt > 1:
        end = next((index for index in range(learnt, len(labels)) if labels[index] == IGNORED), len(labels))
        return Question(prompt=ids[:learnt], expected=ids[learnt:end])
    cut = min(max(1, round(len(ids) * (0.5 if ratio is None else ratio))), len(ids))
    return Question(prompt=ids[:cut], expected=ids[cut:])


def _left_padded(prompts: Sequence[Ids], pad: int, device: Any) -> tuple[torch.Tensor, torch.Tensor]:
    import torch

    width = max(map(len, prompts))
    ids = torch.tensor([[pad] * (width - len(prompt)) + prompt for prompt in prompts], device=device)
    mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts], device=device)
    return ids, mask


def _text(tokenizer: Any, ids: Ids) -> str:
    return str(tokenizer.decode(ids, skip_special_tokens=True))
