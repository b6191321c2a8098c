"""A teacher's candidates stand at the tokens they were said of, from the rows of a dataset to a batch."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from runtime.config.problem import UserError
from runtime.data.collate import Collator, collator_for
from runtime.data.prepare import prepare
from runtime.data.taught import KIND
from runtime.data.tokens import TEACHER_IDS, TEACHER_SCORES

pytestmark = pytest.mark.train

TALK = [["hello there friend", "one two three four five six seven"], ["one two", "the quick brown fox answers"]]
DATASETS = {"type": KIND}


def messages(pair: list[str]) -> list[dict[str, str]]:
    return [{"role": role, "content": content} for role, content in zip(("user", "assistant"), pair, strict=True)]


def tokens_of(tokenizer: Any, pair: list[str]) -> list[int]:
    return list(tokenizer.apply_chat_template(messages(pair), tokenize=True, return_dict=False))


def entry(token: int, place: int) -> dict[int, float]:
    """What a teacher says of a token: that it is likely, and another one less so."""
    return {token: -0.1 - place / 100, (token + 7) % 300: -2.0}


def plain_row(tokenizer: Any, pair: list[str], entries: list[Any]) -> dict[str, Any]:
    return {
        "messages": messages(pair),
        "logprobs": [None if one is None else list(one.values()) for one in entries],
        "target_token_ids": [None if one is None else list(one) for one in entries],
    }


def named_row(tokenizer: Any, pair: list[str], entries: list[Any]) -> dict[str, Any]:
    said = [None if one is None else [{"token": f"token_id:{token}", "logprob": value} for token, value in one.items()] for one in entries]
    return {"messages": messages(pair), "logprobs": said}


def whole(tokenizer: Any, pair: list[str]) -> list[Any]:
    ids = tokens_of(tokenizer, pair)
    return [None, *(entry(token, place) for place, token in enumerate(ids[1:], start=1))]


def said_of(row: Any) -> list[dict[int, float]]:
    length = len(row["input_ids"])
    ids, scores = (np.asarray(row[name]).reshape(length, -1) for name in (TEACHER_IDS, TEACHER_SCORES))
    return [
        {int(token): float(score) for token, score in zip(*line, strict=True) if score > -math.inf}
        for line in zip(ids, scores, strict=True)
    ]


def prepared(recipe: Any, tokenizer: Any, write_rows: Any, rows: list[Any], dataset: dict[str, Any] | None = None, **options: Any) -> Any:
    source = {"path": str(write_rows(rows)), "type": KIND} | (dataset or {})
    return prepare(recipe(datasets=[source], kd_trainer=True, **options), tokenizer)


@pytest.mark.parametrize("form", [plain_row, named_row])
def test_both_forms_of_rows_stand_at_their_tokens(recipe, tokenizer, write_rows, form):
    rows = [form(tokenizer, pair, whole(tokenizer, pair)) for pair in TALK]
    made = prepared(recipe, tokenizer, write_rows, rows)
    for row, pair in zip(made.train, TALK, strict=True):
        ids = tokens_of(tokenizer, pair)
        assert row["input_ids"].tolist() == ids
        said = said_of(row)
        assert said[0] == {}
        for place, token in enumerate(ids[1:], start=1):
            assert said[place] == pytest.approx(entry(token, place))


def test_entries_end_with_the_row_or_with_its_last_trained_token(recipe, tokenizer, write_rows):
    pair = TALK[0]
    entries = whole(tokenizer, pair)
    # The template puts a line break behind the answer. A server that only saw the answer says nothing of it.
    rows = [plain_row(tokenizer, pair, entries[-6:]), plain_row(tokenizer, pair, entries[-6:-1])]
    made = prepared(recipe, tokenizer, write_rows, rows)
    with_break, without = (said_of(row) for row in made.train)
    assert [bool(one) for one in with_break] == [False] * (len(entries) - 6) + [True] * 6
    assert with_break[:-1] == without[:-1]
    assert without[-1] == {}


def test_scores_are_kept_at_temperature_one(recipe, tokenizer, write_rows):
    rows = [named_row(tokenizer, TALK[0], whole(tokenizer, TALK[0]))]
    ids = tokens_of(tokenizer, TALK[0])
    made = prepared(recipe, tokenizer, write_rows, rows, {"temperature": 2.0})
    wanted = {token: 2 * value for token, value in entry(ids[4], 4).items()}
    assert said_of(made.train[0])[4] == pytest.approx(wanted)


def test_packed_cut_and_shuffled_rows_take_their_candidates_along(recipe, tokenizer, write_rows):
    talks = [[f"one two {number}", "three four " * (number % 4 + 1)] for number in range(12)]
    rows = [plain_row(tokenizer, pair, whole(tokenizer, pair)) for pair in talks]
    rows[3]["logprobs"][5] = [*rows[3]["logprobs"][5], -9.0]
    rows[3]["target_token_ids"][5] = [*rows[3]["target_token_ids"][5], 1]
    made = prepared(
        recipe,
        tokenizer,
        write_rows,
        rows,
        sample_packing=True,
        shuffle_merged_datasets=True,
        sequence_len=40,
        excess_length_strategy="truncate",
        val_set_size=2,
    )
    assert TEACHER_IDS not in made.validation.column_names
    seen = 0
    for row in made.train:
        starts = [*np.flatnonzero(row["position_ids"] == 0).tolist(), len(row["input_ids"])]
        said = said_of(row)
        for start, stop in pairwise(starts):
            assert said[start] == {}
            for place in range(start + 1, stop):
                wanted = entry(int(row["input_ids"][place]), place - start)
                assert {token: said[place].get(token) for token in wanted} == pytest.approx(wanted)
                seen += 1
    assert seen > 100


@pytest.mark.parametrize("settings", [{}, {"packed": True, "length": 64}, {"packed": True, "flatten": True, "length": 64}])
def test_a_batch_holds_them_where_its_tokens_are(recipe, tokenizer, write_rows, settings):
    rows = [plain_row(tokenizer, pair, whole(tokenizer, pair)) for pair in TALK]
    made = prepared(recipe, tokenizer, write_rows, rows)
    batch = Collator(pad_token_id=3, **settings)(list(made.train))
    assert batch[TEACHER_IDS].shape == batch[TEACHER_SCORES].shape == (*batch["input_ids"].shape, 2)
    told = 0
    for ids, candidates, scores in zip(batch["input_ids"], batch[TEACHER_IDS], batch[TEACHER_SCORES], strict=True):
        for token, some, likely in zip(ids.tolist(), candidates.tolist(), scores.tolist(), strict=True):
            if likely[0] > -math.inf:
                assert token == some[0]
                told += 1
    assert told == sum(len(tokens_of(tokenizer, pair)) - 1 for pair in TALK)


def test_rows_without_a_teacher_can_stand_beside_rows_with_one(recipe, tokenizer, write_rows):
    taught = write_rows([plain_row(tokenizer, TALK[0], whole(tokenizer, TALK[0]))], "taught.jsonl")
    alone = write_rows([{"messages": messages(TALK[1])}], "alone.jsonl")
    sources = [{"path": str(alone), "type": "chat_template"}, {"path": str(taught), "type": KIND}]
    made = prepare(recipe(datasets=sources, kd_trainer=True, kd_ce_alpha=0.5), tokenizer)
    first, second = (said_of(row) for row in made.train)
    assert first == [{}] * len(first)
    assert [set(one) for one in second] == [set(one or ()) for one in whole(tokenizer, TALK[0])]


def test_rows_of_other_tokens_are_refused_by_number(recipe, tokenizer, write_rows):
    good = plain_row(tokenizer, TALK[0], whole(tokenizer, TALK[0]))
    answer = ["user", "one two three four five six seven " * 3]
    ids = tokens_of(tokenizer, answer)

    def refused(row: dict[str, Any], reason: str) -> None:
        with pytest.raises(UserError, match=reason) as caught:
            prepared(recipe, tokenizer, write_rows, [good, row])
        assert "row 2" in str(caught.value)
        assert caught.value.problems[0].fix

    refused({**good, "logprobs": good["logprobs"] * 3, "target_token_ids": good["target_token_ids"] * 3}, "entries for")
    refused({**good, "logprobs": good["logprobs"][1:]}, "target_token_ids")
    refused({**good, "logprobs": [[-1.0]] * 3, "target_token_ids": [[100_000]] * 3}, "100000|does not have")
    refused({**good, "logprobs": [None], "target_token_ids": [None]}, "says anything")
    refused({**good, "logprobs": [[-1.0, -2.0]], "target_token_ids": [[5]]}, "1 token ids")
    refused(plain_row(tokenizer, answer, [{(token + 1) % 300: -0.1} for token in ids]), "other tokens")


def test_words_in_the_place_of_ids_are_refused(recipe, tokenizer, write_rows):
    row = {"messages": messages(TALK[0]), "logprobs": [[{"token": "hello", "logprob": -0.1}]]}
    with pytest.raises(UserError, match="return_tokens_as_token_ids"):
        prepared(recipe, tokenizer, write_rows, [row])
    with pytest.raises(UserError, match="target_token_ids"):
        prepared(recipe, tokenizer, write_rows, [{"messages": messages(TALK[0]), "logprobs": [[-0.1]]}])


def test_other_columns_of_the_teacher(recipe, tokenizer, write_rows):
    row = plain_row(tokenizer, TALK[0], whole(tokenizer, TALK[0]))
    row["teacher"] = row.pop("logprobs")
    made = prepared(recipe, tokenizer, write_rows, [row], {"logprobs_field": "teacher"})
    assert said_of(made.train[0])[3]
    with pytest.raises(UserError, match="logprobs"):
        prepared(recipe, tokenizer, write_rows, [row])


def test_the_collator_of_a_recipe_needs_no_word_about_a_teacher(recipe, tokenizer, write_rows):
    made = prepared(recipe, tokenizer, write_rows, [plain_row(tokenizer, TALK[0], whole(tokenizer, TALK[0]))])
    assert TEACHER_IDS in collator_for(recipe(), tokenizer)(list(made.train))
