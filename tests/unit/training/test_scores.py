"""Scores of written answers."""

from __future__ import annotations

import importlib.util
from types import SimpleNamespace

import pytest

from runtime.config.problem import UserError
from runtime.config.rules.naming import SCORES
from runtime.training import scores
from runtime.training.answers import Answer
from runtime.training.scores import DEFAULT, Scores

pytestmark = pytest.mark.train


def answers(*pairs: tuple[str, str]) -> list[Answer]:
    return [Answer(prompt="p", expected=expected, answer=answer) for expected, answer in pairs]


def test_the_default_is_everything_that_can_be_named() -> None:
    assert set(DEFAULT) == SCORES


def test_perplexity_is_that_of_the_evaluation_loss() -> None:
    only = Scores.of(SimpleNamespace(eval_causal_lm_metrics=["perplexity"]))
    assert only.of_answers([], loss=2.0) == {"perplexity": pytest.approx(7.389056)}
    assert only.of_answers([], loss=None) == {}


def test_a_missing_package_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scores, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="sacrebleu") as caught:
        Scores.of(SimpleNamespace(eval_causal_lm_metrics=None))
    assert "pip install sacrebleu" in caught.value.problems[0].fix
    Scores.of(SimpleNamespace(eval_causal_lm_metrics=["perplexity"]))


@pytest.mark.skipif(importlib.util.find_spec("sacrebleu") is None, reason="sacrebleu is not installed here")
def test_a_perfect_answer_scores_best() -> None:
    every = Scores.of(SimpleNamespace(eval_causal_lm_metrics=None))
    text = "the quick brown fox jumps over the lazy dog"
    assert every.of_answers(answers((text, text)), loss=1.0) == {
        "sacrebleu": pytest.approx(100),
        "chrf": pytest.approx(100),
        "ter": 0,
        "perplexity": pytest.approx(2.718282),
    }
    worse = every.of_answers(answers((text, "a slow red cat")), loss=1.0)
    assert worse["chrf"] < 50 < worse["ter"]
