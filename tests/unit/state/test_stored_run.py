"""The runs of a storage are found by their folders, whatever else lies there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher.state.names import is_run_name, random_name
from launcher.state.stored_run import stored_runs
from runtime.checkpoint import folders
from runtime.checkpoint.directory import DirectoryStore
from runtime.checkpoint.store import Stat
from runtime.config.launch import LaunchConfig
from runtime.config.problem import Problem, UserError


class Shared(DirectoryStore):
    """A store where one may not look into every folder, which counts what it lists."""

    code = "no-permission"

    listed = 0

    def list(self, prefix: str) -> Iterator[Stat]:
        for stat in super().list(prefix):
            self.listed += 1
            yield stat

    def stat(self, key: str) -> Stat | None:
        if key.startswith("private/"):
            raise UserError(Problem(code=self.code, message="refused"))
        return super().stat(key)


@pytest.mark.parametrize("page", [0, 1000])
def test_runs_are_folders_with_a_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, page: int) -> None:
    monkeypatch.setattr(folders, "_PAGE", page)
    monkeypatch.setattr(folders, "_LOOK", 1)
    store = Shared(tmp_path)
    for key in (
        "b-run/run.json",
        "a-run/run.json",
        "a-run/live/log/0",
        "data/part-1",
        "private/x",
        "Cache/run.json",
        "run.json",
        "c/d/run.json",
    ):
        store.put_bytes(key, b"{}")
    assert stored_runs(store) == ["a-run", "b-run"]
    assert (store.listed < 8) == (page == 0)
    assert stored_runs(store, wanted=lambda run: run.startswith("b")) == ["b-run"]


def test_a_store_that_refuses_for_another_reason_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "_PAGE", 0)
    monkeypatch.setattr(folders, "_LOOK", 0)
    store = Shared(tmp_path)
    store.code = "no-credentials"
    store.put_bytes("private/x", b"")
    with pytest.raises(UserError, match="refused"):
        stored_runs(store)


@pytest.mark.parametrize("name", ["a", "calm-otter-x7k", "a" * 40, "", "-a", "a-", "a" * 41, "A", "a_b", "a.b", "a\n", "ä"])
def test_names_of_runs_are_those_that_a_recipe_can_give(name: str) -> None:
    try:
        LaunchConfig(name=name)
    except ValueError:
        assert not is_run_name(name)
    else:
        assert is_run_name(name)
    assert is_run_name(random_name())
