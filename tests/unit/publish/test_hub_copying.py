"""Copies of checkpoints wait for nobody, the newest wins, and no failure reaches the training."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from runtime.checkpoint.sealing import open_staging, seal
from runtime.config.problem import Problem, UserError
from runtime.publish.hub.copying import HubCopies
from runtime.publish.hub.pushing import Pushed
from runtime.publish.hub.repository import Repository

REPOSITORY = Repository(id="me/model", option="hub_model_id", endpoint="http://nowhere", token=None)


class SlowHub:
    """Takes a push when told to, and remembers what it took."""

    def __init__(self) -> None:
        self.taken: list[str] = []
        self.begun = threading.Semaphore(0)
        self.go = threading.Semaphore(0)
        self.fails: Exception | None = None
        self.cancelled: list[bool] = []

    def push(self, repository: Any, files: dict[str, Path], *, message: str, cancelled: Callable[[], bool], **_: Any) -> Pushed:
        self.begun.release()
        assert self.go.acquire(timeout=20)
        self.cancelled.append(cancelled())
        if self.fails is not None:
            raise self.fails
        self.taken.append(message)
        return Pushed(url="u", commit="c", files=len(files), bytes=1, changed=1)


@pytest.fixture
def slow() -> SlowHub:
    return SlowHub()


@pytest.fixture
def told() -> list[tuple[str, int | None]]:
    return []


@pytest.fixture
def copies(slow: SlowHub, told: list[tuple[str, int | None]], request: pytest.FixtureRequest) -> Iterator[HubCopies]:
    strategy = getattr(request, "param", "every_save")
    made = HubCopies(
        REPOSITORY, strategy=strategy, on_event=lambda kind, step=None, **fields: told.append((kind, step)), push_files=slow.push
    )
    yield made
    for _ in range(9):
        slow.go.release()
    assert made.close(20)


def checkpoint(parent: Path, step: int) -> Path:
    with open_staging(parent) as staging:
        (staging / "model.safetensors").write_text(str(step))
        seal(staging, parent / f"step-{step:08d}", step=step, config_hash="", world_size=1)
    return parent / f"step-{step:08d}"


def submit(copies: HubCopies, slow: SlowHub, parent: Path, steps: range) -> list[Path]:
    """Submit checkpoints while the first one is being sent."""
    folders = [checkpoint(parent, step) for step in steps]
    copies.submit(folders[0])
    assert slow.begun.acquire(timeout=20)
    for folder in folders[1:]:
        copies.submit(folder)
    return folders


def test_the_newest_wins(copies: HubCopies, slow: SlowHub, told: list[Any], tmp_path: Path) -> None:
    folders = submit(copies, slow, tmp_path, range(1, 5))
    assert copies.protected == {folders[0], folders[3]}
    assert told == [("push_dropped", 2), ("push_dropped", 3)]
    for _ in range(2):
        slow.go.release()
    assert copies.flush(20)
    assert slow.taken == ["Training in progress, step 1", "Training in progress, step 4"]
    assert slow.cancelled == [True, False]
    assert copies.protected == frozenset()


@pytest.mark.parametrize("copies", ["all_checkpoints"], indirect=True)
def test_all_of_them_when_asked(copies: HubCopies, slow: SlowHub, told: list[Any], tmp_path: Path) -> None:
    folders = submit(copies, slow, tmp_path, range(1, 5))
    assert copies.protected == set(folders[:2])
    (folders[3] / "manifest.json").rename(tmp_path / "manifest.json")
    (folders[3] / "model.safetensors").unlink()
    folders[3].rmdir()
    for _ in range(3):
        slow.go.release()
    assert copies.flush(20)
    assert [kind for kind, _ in told] == ["pushed", "pushed", "pushed", "push_dropped"]
    assert slow.cancelled == [False] * 3


@pytest.mark.parametrize(
    "error", [UserError(Problem(code="credentials", message="refused")), OSError("gone"), KeyError("a bug")], ids=["refusal", "file", "bug"]
)
def test_no_failure_gets_out(copies: HubCopies, slow: SlowHub, told: list[Any], tmp_path: Path, error: Exception) -> None:
    slow.fails = error
    submit(copies, slow, tmp_path, range(1, 2))
    slow.go.release()
    assert copies.flush(20)
    assert told == [("push_failed", 1)]
    slow.fails = None
    slow.go.release()
    copies.submit(checkpoint(tmp_path, 2))
    assert copies.flush(20)
    assert told[-1] == ("pushed", 2)


def test_a_listener_that_fails_ends_nothing(slow: SlowHub, tmp_path: Path) -> None:
    def full_disk(kind: str, step: int | None = None, **fields: object) -> None:
        raise OSError(28, "No space left on device")

    copies = HubCopies(REPOSITORY, strategy="checkpoint", on_event=full_disk, push_files=slow.push)
    for step in (1, 2):
        slow.go.release()
        copies.submit(checkpoint(tmp_path, step))
        assert copies.flush(20)
    assert len(slow.taken) == 2
    assert copies.close(20)


def test_closing_gives_up_what_waits(slow: SlowHub, told: list[Any], tmp_path: Path) -> None:
    copies = HubCopies(
        REPOSITORY, strategy="checkpoint", on_event=lambda kind, step=None, **fields: told.append((kind, step)), push_files=slow.push
    )
    submit(copies, slow, tmp_path, range(1, 3))
    assert not copies.close(0)
    slow.go.release()
    assert copies.close(20)
    assert ("push_dropped", 2) in told
    assert slow.cancelled == [True]
    copies.submit(checkpoint(tmp_path, 3))
    assert copies.flush(0)
