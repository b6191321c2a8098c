"""A checkpoint is sealed while training goes on, one at a time, and no failure of it is lost."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runtime.checkpoint.manifest import read_manifest, verify
from runtime.config.problem import Problem, UserError
from runtime.training import saving
from runtime.training.deadline import Sizes
from runtime.training.errand import Errand
from runtime.training.folder import RunFolder
from runtime.training.processes import Rank
from runtime.training.saving import Saver


class Events(list[dict[str, Any]]):
    def __call__(self, kind: str, step: int | None = None, **fields: Any) -> None:
        self.append({"kind": kind, "step": step} | fields)


def saver(folder: Path, events: Events | None = None, **settings: Any) -> Saver:
    return Saver(
        folder=RunFolder(path=folder),
        rank=Rank(),
        config_text="seed: 1\n",
        config_hash="h",
        emit=Events() if events is None else events,
        **settings,
    )


def content(size: int = 1000) -> Callable[[Path], None]:
    return lambda folder: (folder / "model.bin").write_bytes(b"w" * size) and None


def test_training_goes_on_while_a_checkpoint_is_sealed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events, go_on, seal = Events(), threading.Event(), saving.seal

    def held(*args: Any, **kwargs: Any) -> Any:
        assert go_on.wait(10)
        return seal(*args, **kwargs)

    monkeypatch.setattr(saving, "seal", held)
    subject = saver(tmp_path, events)
    subject.save(5, content())
    assert not (tmp_path / "checkpoints" / "step-00000005").exists()
    go_on.set()
    subject.settle()
    sealed = tmp_path / "checkpoints" / "step-00000005"
    assert verify(sealed, read_manifest(sealed)) == ()
    (told,) = [event for event in events if event["kind"] == "checkpoint"]
    assert (told["step"], told["sealed"], told["bytes"]) == (5, True, read_manifest(sealed).total_bytes)
    assert 0 <= told["blocking_s"] <= told["seconds"]
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-00000005"]


def test_a_seal_that_fails_is_told_by_the_next_save_and_costs_nothing_sealed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    subject = saver(tmp_path)
    subject.save(1, content())
    subject.settle()

    def fails(*args: Any, **kwargs: Any) -> Any:
        raise UserError(Problem(code="disk-full", message="the disk is full"))

    with monkeypatch.context() as patched:
        patched.setattr(saving, "seal", fails)
        subject.save(2, content())
        with pytest.raises(UserError, match="the disk is full"):
            subject.save(3, content())
    subject.settle()
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-00000001"]


def test_a_full_disk_costs_two_checkpoints_in_a_row_and_not_the_training(tmp_path: Path) -> None:
    said: list[str] = []
    subject = saver(tmp_path, say=said.append)

    def full(folder: Path) -> None:
        (folder / "half").write_bytes(b"w")
        raise RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)")

    subject.save(1, content(), bears=True)
    subject.save(2, full, bears=True)
    subject.save(3, content(), bears=True)
    subject.save(4, full, bears=True)
    subject.save(5, full, bears=True)
    assert [words.partition(":")[0] for words in said] == ["no checkpoint was sealed"] * 3
    assert "if the next save fails too, training ends" in said[-1]
    with pytest.raises(UserError, match="the disk is full"):
        subject.save(6, full, bears=True)
    with pytest.raises(UserError, match="the disk is full"):
        saver(tmp_path).save(7, full)
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["step-00000001", "step-00000003"]


def test_a_seal_that_a_full_disk_prevents_is_told_by_the_next_save(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    subject, real = saver(tmp_path, say=said.append), saving.seal

    def fails_once(*args: Any, **kwargs: Any) -> Any:
        monkeypatch.setattr(saving, "seal", real)
        raise UserError(Problem(code="disk-full", message="the disk is full"))

    monkeypatch.setattr(saving, "seal", fails_once)
    subject.save(2, content(), bears=True)
    subject.save(3, content(), bears=True)
    subject.settle()
    assert len(said) == 1
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-00000003"]


def test_a_write_that_fails_is_told_at_once_and_leaves_nothing(tmp_path: Path) -> None:
    subject = saver(tmp_path)

    def fails(folder: Path) -> None:
        (folder / "half").write_bytes(b"x")
        raise OSError(28, "No space left on device")

    with pytest.raises(UserError, match="full"):
        subject.save(1, fails)
    assert list((tmp_path / "checkpoints").iterdir()) == []


def test_retention_follows_the_seal(tmp_path: Path) -> None:
    subject = saver(tmp_path, limit=2)
    for step in (1, 2, 3, 4):
        subject.save(step, content(), keep=1)
    subject.settle()
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["step-00000001", "step-00000003", "step-00000004"]


def test_weights_stand_beside_the_checkpoints_until_a_later_one_is_sealed(tmp_path: Path) -> None:
    subject = saver(tmp_path)
    subject.save(1, content())
    for step in (2, 3):
        subject.save_weights(step, content(400))
    manifest = read_manifest(tmp_path / "weights")
    assert (manifest.kind, manifest.step) == ("weights", 3)
    assert verify(tmp_path / "weights", manifest) == ()
    # A resumed run comes to their step again; until then they are the best there is.
    again = saver(tmp_path)
    again.save(2, content())
    again.settle()
    assert read_manifest(tmp_path / "weights").step == 3
    subject.save(4, content())
    subject.settle()
    assert not (tmp_path / "weights").exists()


def test_the_final_model_makes_weights_superfluous(tmp_path: Path) -> None:
    subject = saver(tmp_path)
    subject.save_weights(3, content())
    subject.save_final(4, content())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["final"]


def test_an_ending_is_planned_with_the_size_and_speed_of_the_last_checkpoint(tmp_path: Path) -> None:
    subject = saver(tmp_path)
    computed = Sizes(full=3_000_000, weights=1_000_000)
    assert subject.ending(None, computed, machine_stays=True).what == "full"
    assert subject.ending(1.0, computed, machine_stays=False).what == "full"
    assert subject.ending(0.03, computed, machine_stays=False).what == "weights"
    subject.save(1, content(6_000_000))
    subject.settle()
    planned = subject.ending(None, computed, machine_stays=False)
    assert planned.seconds == pytest.approx(6_000_000 / subject.pace.speeds(stores=False).seal, rel=0.01)


def test_an_errand_waits_for_the_one_before_and_raises_once() -> None:
    errand, order = Errand("test"), list[str]()
    go_on = threading.Event()

    def first() -> None:
        go_on.wait(10)
        order.append("first")

    def fails() -> None:
        order.append("second")
        raise ValueError("no")

    errand.start(first)
    threading.Timer(0.05, go_on.set).start()
    errand.start(fails)
    with pytest.raises(ValueError, match="no"):
        errand.settle()
    errand.settle()
    assert order == ["first", "second"]


def test_a_run_that_another_process_has_taken_over_ends_at_its_next_checkpoint(tmp_path: Path) -> None:
    class Fenced:
        fenced = Problem(code="fenced", message="attempt 2 has taken this run over")
        protected = frozenset[Path]()

    with pytest.raises(UserError) as refused:
        saver(tmp_path, uploader=Fenced()).save(5, content())
    assert (refused.value.exit_code, refused.value.problems[0].code) == (7, "fenced")


@pytest.mark.train
def test_torch_sums_nothing_while_a_step_waits(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    tensor = torch.arange(1000.0)

    def write(folder: Path) -> None:
        torch.save({"moment": tensor}, folder / "optimizer.pt")
        assert not torch.serialization.get_crc32_options()

    subject = saver(tmp_path)
    subject.save(1, write)
    subject.settle()
    assert torch.equal(torch.load(tmp_path / "checkpoints" / "step-00000001" / "optimizer.pt")["moment"], tensor)
    with pytest.raises(ZeroDivisionError):
        subject.save(2, lambda _folder: 1 / 0)
    assert torch.serialization.get_crc32_options()
