"""The Hub as a store: how many commits a checkpoint is, other people's commits, and who is turned away."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("huggingface_hub", reason="not installed: pip install huggingface_hub")
pytest.importorskip("httpx2", reason="the Hub's client here is an older one")

from runtime.checkpoint.busy import pause_of
from runtime.checkpoint.opening import open_store
from runtime.checkpoint.restore import restore_newest
from runtime.checkpoint.retention import Keep, prune_stored
from runtime.checkpoint.store import Store
from runtime.checkpoint.stored import RunStore
from runtime.checkpoint.storing import seal_in_store
from runtime.config.problem import ExitCode, UserError

REPO = "models/tester/runs"


@pytest.fixture
def store(online: Any, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("HF_ENDPOINT", online.endpoint)
    return open_store("hf://tester/runs")


def test_a_checkpoint_is_few_commits_and_its_end_two_more(online: Any, store: Store, sealed: Any, tmp_path: Path) -> None:
    place = RunStore(store=store, run="run")
    files = {f"shard-{number}.safetensors": b"%d" % number * 500 for number in range(9)}
    seal_in_store(place, sealed(30, files=files), writer="1-aaaa")
    manifest, *objects, _initial = online.server.titles(REPO)
    assert manifest == "run/checkpoints/step-00000030/manifest.json"
    # One, unless a thread was so late that the others did not know of its file.
    assert 1 <= len(objects) < 5
    assert online.server.repos[REPO].private
    seal_in_store(place, sealed(40, files=files), writer="1-aaaa")
    before = len(online.server.titles(REPO))
    assert prune_stored(place, Keep(last=1), attempt=1) == (30,)
    assert len(online.server.titles(REPO)) - before <= 4
    found = restore_newest([place], tmp_path / "machine").found
    assert found is not None
    assert found.step == 40


def test_somebody_elses_commit_is_no_conflict_with_a_condition(online: Any, store: Store) -> None:
    store.put_bytes("run/a", b"first")
    stat = store.stat("run/a")
    assert stat is not None
    online.server.put(REPO, {"README.md": b"a card"})
    store.put_bytes("run/a", b"second", replaces=stat.version)
    online.server.put(REPO, {"run/a": b"by hand"})
    with pytest.raises(FileExistsError):
        store.put_bytes("run/a", b"third", replaces=stat.version)
    assert online.server.files(REPO)["run/a"] == b"by hand"
    assert online.server.files(REPO)["README.md"] == b"a card"


def test_a_commit_that_comes_between_look_and_write_is_seen(online: Any, store: Store) -> None:
    store.put_bytes("run/a", b"first")
    pending = [1]

    def between(request: str) -> None:
        if request.startswith("POST") and "/commit/" in request and pending:
            pending.clear()
            online.server.put(REPO, {"run/manifest.json": b"theirs"})

    online.server.before = between
    with pytest.raises(FileExistsError):
        store.put_bytes("run/manifest.json", b"ours", create=True)
    assert online.server.files(REPO)["run/manifest.json"] == b"theirs"


def test_a_public_repository_is_not_written_to(online: Any, store: Store) -> None:
    online.server.put(REPO, {"README.md": b"for all"}, private=False)
    with pytest.raises(UserError, match="is public") as caught:
        _ = store.capabilities
    assert caught.value.exit_code == ExitCode.REMOTE_REFUSED


def test_a_token_that_may_not_write_is_found_out_at_once(online: Any, store: Store) -> None:
    online.server.may_write = False
    with pytest.raises(UserError, match="refuses this"):
        _ = store.capabilities


def test_no_token_is_told(online: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from huggingface_hub import constants

    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "none"))
    with pytest.raises(UserError, match="HF_TOKEN"):
        open_store("hf://tester/runs")


def test_a_busy_hub_is_asked_again(online: Any, store: Store) -> None:
    store.put_bytes("run/a", b"first")
    online.server.order(r"POST .*/commit/", 503)
    store.put_bytes("run/a", b"second")
    assert online.server.files(REPO)["run/a"] == b"second"


def test_a_token_that_is_renewed_while_the_run_goes_on_is_used(online: Any, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.put_bytes("run/a", b"first")
    online.server.token = "hf_" + "another" * 4
    with pytest.raises(UserError, match="401"):
        store.put_bytes("run/a", b"second")
    monkeypatch.setenv("HF_TOKEN", online.server.token)
    store.put_bytes("run/a", b"third")
    assert b"".join(store.read("run/a")) == b"third"


def test_a_used_up_rate_limit_of_the_hub_is_left_to_who_can_wait(online: Any, hub_module: Any, store: Store) -> None:
    store.put_bytes("run/a", b"first")
    online.server.order(r"POST .*/commit/", hub_module.Answer(429, {"RateLimit": '"api";r=0;t=55'}))
    with pytest.raises(ConnectionError) as caught:
        store.put_bytes("run/a", b"second")
    assert pause_of(caught.value) == 55.0


def test_deletions_whose_answer_was_lost_are_not_refused(online: Any, hub_module: Any, store: Store) -> None:
    store.put_bytes("run/a", b"first")
    online.server.order(r"POST .*/commit/", hub_module.Answer(how="lose"))
    store.delete("run/a")
    assert "run/a" not in online.server.files(REPO)
