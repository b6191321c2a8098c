"""A trainer class of the user's own."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from transformers import Trainer

from runtime.config.problem import UserError
from runtime.training.trainer import RunTrainer
from runtime.training.trainer_class import trainer_class

pytestmark = pytest.mark.train

MODULE = """
from transformers import Trainer

class Own(Trainer):
    def compute_loss(self, model, inputs, **kwargs):
        return 7

    def _save_checkpoint(self, *args):
        raise AssertionError

class NoTrainer:
    pass
"""


@pytest.fixture(autouse=True)
def _module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_trainer_of_a_test.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    sys.modules.pop("own_trainer_of_a_test", None)


def asked(path: str | None) -> Any:
    return trainer_class(SimpleNamespace(trainer_cls=path))


def test_its_loss_is_used_and_saving_stays_the_runs() -> None:
    made = asked("own_trainer_of_a_test.Own")
    assert asked(None) is RunTrainer
    assert issubclass(made, RunTrainer)
    assert made._save_checkpoint is RunTrainer._save_checkpoint
    order = [kind.__name__ for kind in made.__mro__]
    assert order.index("RunTrainer") < order.index("Own") < order.index(Trainer.__name__)


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("Own", "no import path"),
        ("not_there_at_all.Own", "cannot be imported"),
        ("own_trainer_of_a_test.Missing", "cannot be imported"),
        ("own_trainer_of_a_test.NoTrainer", "no subclass of transformers.Trainer"),
    ],
)
def test_what_is_no_trainer_is_refused(path: str, why: str) -> None:
    with pytest.raises(UserError, match=why) as caught:
        asked(path)
    assert caught.value.problems[0].path == "trainer_cls"
