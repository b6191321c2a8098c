"""Questions from validation rows, and the model's answers to them."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from runtime.data.tokens import IGNORED
from runtime.training.answers import Question, Writing, questions, write_answers
from runtime.training.processes import Rank

pytestmark = pytest.mark.train

X = IGNORED


def row(ids: list[int], labels: list[int], places: list[int] | None = None) -> dict[str, list[int]]:
    return {"input_ids": ids, "labels": labels, "position_ids": list(range(len(ids))) if places is None else places}


def test_the_question_is_what_comes_before_the_first_learnt_token() -> None:
    chat = row([1, 2, 3, 4, 5, 6, 7], [X, X, X, 4, 5, X, 7])
    assert questions([chat], 3) == [Question(prompt=[1, 2, 3], expected=[4, 5])]
    assert questions([chat], 3, ratio=0.8) == [Question(prompt=[1, 2, 3, 4, 5, 6], expected=[7])]


def test_a_row_that_is_all_learnt_is_cut_in_half_or_as_told() -> None:
    text = row([1, 2, 3, 4], [1, 2, 3, 4])
    assert questions([text], 1) == [Question(prompt=[1, 2], expected=[3, 4])]
    assert questions([text], 1, ratio=0.25) == [Question(prompt=[1], expected=[2, 3, 4])]
    assert questions([text], 1, ratio=0) == [Question(prompt=[1], expected=[2, 3, 4])]
    assert questions([text], 1, ratio=1) == [Question(prompt=[1, 2, 3, 4], expected=[])]


def test_of_a_packed_row_the_first_sample_asks() -> None:
    packed = row([1, 2, 3, 7, 8], [X, X, 3, X, 8], [0, 1, 2, 0, 1])
    assert questions([packed], 1) == [Question(prompt=[1, 2], expected=[3])]


def test_rows_without_anything_learnt_ask_nothing_and_the_first_ones_are_taken() -> None:
    rows = [row([9, 9], [X, X]), *(row([n, n, n], [X, X, n]) for n in range(5))]
    assert [question.prompt[0] for question in questions(rows, 2)] == [0, 1]
    assert len(questions(rows, None)) == 5


class Words:
    pad_token_id = 0
    eos_token_id = 1

    def decode(self, ids: list[int], skip_special_tokens: bool) -> str:
        assert skip_special_tokens
        return " ".join(map(str, ids))


@pytest.fixture(scope="module")
def model() -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    shape = LlamaConfig(
        vocab_size=40, hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2, max_position_embeddings=64
    )
    made = LlamaForCausalLM(shape)
    made.config.use_cache = False
    return made.train()


ASKED = [Question(prompt=list(range(2, 3 + length)), expected=[5]) for length in (1, 7, 3, 2)]


@pytest.mark.parametrize(
    "writing", [Writing(max_new_tokens=6), Writing(max_new_tokens=6, do_sample=True, temperature=0.8, top_p=0.9, top_k=7)]
)
def test_answers_are_the_same_every_time_and_leave_the_model_training(model: Any, writing: Writing) -> None:
    one, other = (write_answers(model, Words(), ASKED, writing, batch=3, rank=Rank(), seed=1) for _ in range(2))
    assert one == other
    assert model.training
    assert [answer.prompt for answer in one] == [" ".join(map(str, question.prompt)) for question in ASKED]
    assert all(answer.answer for answer in one)


def test_an_answer_does_not_depend_on_what_is_answered_beside_it(model: Any) -> None:
    alone, together = (
        write_answers(model, Words(), ASKED, Writing(max_new_tokens=6), batch=batch, rank=Rank(), seed=1) for batch in (1, 4)
    )
    assert alone == together


class Part(Rank):
    """One of two processes; what the other one found is filled in."""

    __slots__ = ()

    def gather(self, value: Any) -> list[Any]:
        return [value, {1: [7], 3: [7]}]


def test_processes_share_the_work_and_look_up_equally_often(model: Any) -> None:
    looks: list[int] = []
    found = write_answers(
        model,
        Words(),
        ASKED[:3],
        Writing(max_new_tokens=2),
        batch=1,
        rank=Part(index=0, world_size=2),
        seed=1,
        before_batch=lambda: looks.append(1),
    )
    assert len(looks) == 2
    assert [answer.answer == "7" for answer in found] == [False, True, False]
