"""All processes do the same at a step boundary, and know what a checkpoint will weigh before there is one."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from runtime.training.boundary import Wish, agreed
from runtime.training.processes import Rank
from runtime.training.stop import StopRequest
from runtime.training.weighing import checkpoint_sizes

pytestmark = pytest.mark.train


class Among(Rank):
    """A process among two; the other one wants `other`."""

    other: int = 0

    def reduce(self, tensor: torch.Tensor, how: str) -> torch.Tensor:
        assert how == "max"
        return torch.maximum(tensor, torch.tensor([Among.other]))


def session(*, rank: Rank, stops: bool = False, soon: bool = False, due: bool | None = None) -> Any:
    stop = StopRequest()
    stop.requested, stop.save_soon = stops, soon
    return SimpleNamespace(rank=rank, stop=stop, beat=None if due is None else SimpleNamespace(due=lambda: due))


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({}, Wish.GO_ON),
        ({"due": False}, Wish.GO_ON),
        ({"due": True}, Wish.SAVE),
        ({"soon": True}, Wish.SAVE),
        ({"stops": True, "soon": True, "due": True}, Wish.STOP),
    ],
)
def test_one_process_gets_what_it_wants(asked: dict[str, bool], expected: Wish) -> None:
    assert agreed(session(rank=Rank(), **asked), torch.device("cpu")) is expected


@pytest.mark.parametrize("other", list(Wish))
def test_several_processes_do_what_the_most_urgent_wants(other: Wish, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Among, "other", int(other))
    first, second = Among(index=0, world_size=2), Among(index=1, local=1, world_size=2)
    assert agreed(session(rank=first), torch.device("cpu")) is other
    assert agreed(session(rank=first, due=True), torch.device("cpu")) is max(other, Wish.SAVE)
    # Clocks differ: only the first process's counts.
    assert agreed(session(rank=second, due=True), torch.device("cpu")) is other
    assert agreed(session(rank=second, soon=True), torch.device("cpu")) is max(other, Wish.SAVE)


def test_sizes_are_those_of_the_files(tmp_path: Path) -> None:
    model = torch.nn.Linear(256, 256, bias=False)
    optimizer = torch.optim.AdamW(model.parameters())
    before = checkpoint_sizes(model, optimizer, only_model=False)
    model(torch.ones(1, 256)).sum().backward()
    optimizer.step()
    sizes = checkpoint_sizes(model, optimizer, only_model=False)
    torch.save(model.state_dict(), tmp_path / "model")
    torch.save(optimizer.state_dict(), tmp_path / "optimizer")
    files = {path.name: path.stat().st_size for path in tmp_path.iterdir()}
    assert sizes.weights == pytest.approx(files["model"], rel=0.05)
    assert sizes.full == pytest.approx(sum(files.values()), rel=0.05)
    assert before.full == pytest.approx(sizes.full, rel=0.01)
    alone = checkpoint_sizes(model, optimizer, only_model=True)
    assert alone.full == alone.weights == sizes.weights


def test_an_adapters_checkpoint_holds_what_is_trained() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(100, 100, bias=False), torch.nn.Linear(100, 10, bias=False))
    model[0].weight.requires_grad_(False)
    assert checkpoint_sizes(model, None, only_model=False).weights == 4 * 11_000
    model.peft_config = {}  # type: ignore[assignment]
    assert checkpoint_sizes(model, None, only_model=False).weights == 4 * 1_000
    assert checkpoint_sizes(model, None, only_model=False).full == 3 * 4 * 1_000
