"""What is kept, what goes, and what never goes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.checkpoint.directory import DirectoryStore
from runtime.checkpoint.restore import find_newest
from runtime.checkpoint.retention import Keep, discard, prune, prune_stored, superfluous
from runtime.checkpoint.stored import RunStore
from runtime.checkpoint.storing import seal_in_store
from runtime.config.problem import Problem, UserError


@given(
    st.sets(st.integers(0, 500), max_size=30),
    st.one_of(st.none(), st.integers(1, 10)),
    st.one_of(st.none(), st.integers(1, 50)),
    st.frozensets(st.integers(0, 500), max_size=3),
)
def test_what_is_superfluous(steps: set[int], last: int | None, every: int | None, best: frozenset[int]) -> None:
    gone = superfluous(steps, Keep(last=last, every=every, best=best))
    assert list(gone) == sorted(set(gone))
    assert set(gone) <= steps
    if last is None:
        assert gone == ()
        return
    recent = sorted(steps)[-last:]
    for step in steps:
        kept = step in recent or step in best or bool(every and step % every == 0)
        assert (step in gone) != kept
    assert max(steps, default=None) not in gone


@pytest.mark.parametrize("limits", [{"last": 0}, {"last": -1}, {"every": 0}])
def test_keeping_nothing_is_no_choice(limits: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="at least"):
        Keep(**limits)


def steps_in(checkpoints: Path) -> list[int]:
    return sorted(int(entry.name.removeprefix("step-")) for entry in checkpoints.iterdir())


def test_old_ones_go_protected_ones_stay(sealed: Any, tmp_path: Path) -> None:
    folders = {step: sealed(step) for step in (10, 20, 30, 40, 50, 60)}
    checkpoints = tmp_path / "checkpoints"
    removed = prune(checkpoints, Keep(last=2, every=30, best=frozenset({10})), protected=[folders[20]])
    assert removed == (folders[40],)
    assert steps_in(checkpoints) == [10, 20, 30, 50, 60]
    assert prune(checkpoints, Keep(last=1)) == tuple(folders[step] for step in (10, 20, 30, 50))
    assert prune(checkpoints, Keep(last=1)) == ()
    assert steps_in(checkpoints) == [60]
    assert prune(tmp_path / "missing", Keep(last=1)) == ()


@pytest.mark.parametrize("damage", ["truncate", "unlink", "manifest", "no manifest"])
def test_a_broken_newest_never_costs_the_last_good_one(sealed: Any, tmp_path: Path, damage: str) -> None:
    for step in (10, 20):
        sealed(step)
    newest = sealed(30)
    match damage:
        case "truncate":
            (newest / "adapter_model.safetensors").write_bytes(b"short")
        case "unlink":
            (newest / "adapter_model.safetensors").unlink()
        case "manifest":
            (newest / "manifest.json").write_text("{}")
        case "no manifest":
            (newest / "manifest.json").unlink()
    prune(tmp_path / "checkpoints", Keep(last=1))
    assert steps_in(tmp_path / "checkpoints") == [20, 30]
    found = find_newest([tmp_path / "checkpoints"])
    assert found is not None
    assert found.step == 20


def test_a_linked_folder_is_left_alone(sealed: Any, tmp_path: Path) -> None:
    elsewhere = sealed(10, checkpoints=tmp_path / "elsewhere")
    sealed(20)
    (tmp_path / "checkpoints" / "step-00000010").symlink_to(elsewhere)
    assert prune(tmp_path / "checkpoints", Keep(last=1)) == ()
    assert (elsewhere / "manifest.json").exists()


def test_discard_removes_one(sealed: Any, tmp_path: Path) -> None:
    sealed(10)
    discard(sealed(20))
    assert [entry.name for entry in (tmp_path / "checkpoints").iterdir()] == ["step-00000010"]
    with pytest.raises(UserError):
        discard(tmp_path / "checkpoints" / "step-00000020")


@pytest.fixture
def place(tmp_path: Path) -> RunStore:
    return RunStore(store=DirectoryStore(tmp_path / "store"), run="run")


def keys(place: RunStore) -> set[str]:
    return {stat.key.removeprefix("run/checkpoints/") for stat in place.store.list("run/checkpoints/")}


def test_a_store_is_pruned_the_same_way(sealed: Any, place: RunStore) -> None:
    for step in (10, 20, 30):
        seal_in_store(place, sealed(step, files={"a": b"x"}), writer="1-aaaa")
    place.store.put_bytes("run/final/1-aaaa/a", b"x")
    assert prune_stored(place, Keep(last=1, best=frozenset({10})), attempt=1) == (20,)
    assert keys(place) == {f"step-000000{step}/{name}" for step in (10, 30) for name in ("manifest.json", "1-aaaa/a")}
    assert place.store.stat("run/final/1-aaaa/a") is not None


def test_leftovers_of_earlier_attempts_go_once_a_newer_step_is_sealed(sealed: Any, place: RunStore) -> None:
    for key in (
        "step-00000010/1-dead/a",
        "step-00000020/1-dead/a",
        "step-00000020/3-alive/a",
        "step-00000020/notes.txt",
        "step-00000040/1-dead/a",
    ):
        place.store.put_bytes(f"run/checkpoints/{key}", b"x")
    for step in (20, 30):
        seal_in_store(place, sealed(step, files={"a": b"x"}), writer="2-bbbb")
    prune_stored(place, Keep(), attempt=2)
    assert keys(place) == {
        "step-00000020/2-bbbb/a",
        "step-00000020/3-alive/a",
        "step-00000020/manifest.json",
        "step-00000020/notes.txt",
        "step-00000030/2-bbbb/a",
        "step-00000030/manifest.json",
        "step-00000040/1-dead/a",
    }


def test_an_object_that_a_kept_checkpoint_names_stays(sealed: Any, place: RunStore) -> None:
    old = seal_in_store(place, sealed(10, files={"tokenizer.json": b"same"}), writer="1-aaaa")
    new = seal_in_store(place, sealed(20, files={"tokenizer.json": b"same"}), writer="1-aaaa")
    shared = new.model_copy(update={"files": old.files})
    place.store.put_bytes("run/checkpoints/step-00000020/manifest.json", shared.encode())
    assert prune_stored(place, Keep(last=1), attempt=1) == (10,)
    assert place.store.stat("run/checkpoints/step-00000010/1-aaaa/tokenizer.json") is not None
    found = find_newest([place])
    assert found is not None
    assert found.step == 20


def test_a_broken_newest_in_the_store_never_costs_the_last_good_one(sealed: Any, place: RunStore) -> None:
    for step in (10, 20):
        seal_in_store(place, sealed(step, files={"a": b"x"}), writer="1-aaaa")
    place.store.delete("run/checkpoints/step-00000020/1-aaaa/a")
    assert prune_stored(place, Keep(last=1), attempt=2) == ()
    found = find_newest([place])
    assert found is not None
    assert found.step == 10


@pytest.mark.parametrize("answer", [b"half of a mani", None])
def test_a_manifest_that_is_read_wrong_once_costs_nothing(
    sealed: Any, place: RunStore, monkeypatch: pytest.MonkeyPatch, answer: bytes | None
) -> None:
    """The best checkpoint is a dead attempt's: what looks like its leftovers is named by a manifest that this once did not arrive as it is."""
    for step, writer in ((10, "1-aaaa"), (20, "1-aaaa"), (30, "2-bbbb")):
        seal_in_store(place, sealed(step, files={"a": b"x"}), writer=writer)
    before = keys(place)

    def read(store: DirectoryStore, key: str) -> Any:
        if "step-00000010" not in key:
            return good(store, key)
        if answer is None:
            raise FileNotFoundError(key)
        return iter([answer])

    good = DirectoryStore.read
    with monkeypatch.context() as patch:
        patch.setattr(DirectoryStore, "read", read)
        assert prune_stored(place, Keep(last=2, best=frozenset({10})), attempt=2, sealed=30) == ()
    assert keys(place) == before


def test_a_list_that_is_too_old_to_show_a_manifest_costs_nothing(sealed: Any, place: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    for step, writer in ((10, "1-aaaa"), (20, "1-aaaa"), (30, "2-bbbb")):
        seal_in_store(place, sealed(step, files={"a": b"x"}), writer=writer)
    before, shown = keys(place), DirectoryStore.list
    with monkeypatch.context() as patch:
        late = "run/checkpoints/step-00000020/manifest.json"
        patch.setattr(DirectoryStore, "list", lambda store, prefix: (stat for stat in shown(store, prefix) if stat.key != late))
        assert prune_stored(place, Keep(last=2), attempt=2, sealed=30) == ()
    assert keys(place) == before


def test_a_copy_under_another_steps_name_counts_for_nothing(sealed: Any, place: RunStore) -> None:
    for step in (10, 20, 30):
        seal_in_store(place, sealed(step, files={"a": b"x"}), writer="1-aaaa")
    place.store.put_bytes("run/checkpoints/step-00000025/manifest.json", place.manifest("checkpoints/step-00000010").encode())
    assert prune_stored(place, Keep(last=2), attempt=1, sealed=30) == (10,)


def test_a_newer_one_that_only_looks_whole_never_costs_the_one_just_sealed(sealed: Any, place: RunStore, tmp_path: Path) -> None:
    for step in (40, 45, 50):
        seal_in_store(place, sealed(step, files={"a": b"good"}), writer="1-aaaa")
    place.store.put_bytes("run/checkpoints/step-00000050/1-aaaa/a", b"evil")
    (tmp_path / "checkpoints" / "step-00000050" / "a").write_bytes(b"evil")
    assert prune_stored(place, Keep(last=1), attempt=1, sealed=45) == (40,)
    assert [folder.name for folder in prune(tmp_path / "checkpoints", Keep(last=1), sealed=45)] == ["step-00000040"]
    for at in (place, tmp_path / "checkpoints"):
        found = find_newest([at])
        assert found is not None
        assert found.step == 45


def test_what_another_living_writer_may_be_about_to_name_stays(sealed: Any, place: RunStore) -> None:
    for step in (10, 20):
        seal_in_store(place, sealed(step, files={"a": b"x"}), writer="1-aaaa")
    for writer in ("0-dead", "1-bbbb", "2-cccc"):
        place.store.put_bytes(f"run/checkpoints/step-00000010/{writer}/a", b"x")
    assert prune_stored(place, Keep(last=1), attempt=1, sealed=20) == (10,)
    assert keys(place) == {"step-00000010/1-bbbb/a", "step-00000010/2-cccc/a", "step-00000020/1-aaaa/a", "step-00000020/manifest.json"}


def test_nothing_is_deleted_by_one_who_may_not(sealed: Any, place: RunStore) -> None:
    for step in (10, 20):
        seal_in_store(place, sealed(step, files={"a": b"x"}), writer="1-aaaa")
    before = keys(place)

    def refuse() -> None:
        raise PermissionError("not any more")

    with pytest.raises(PermissionError):
        prune_stored(place, Keep(last=1), attempt=1, guard=refuse)
    assert keys(place) == before


@pytest.mark.parametrize("held", ["step-00000020/manifest.json", "step-00000010/1-aaaa/a", "step-00000020/1-aaaa/b"])
def test_what_somebody_keeps_from_being_deleted_keeps_nothing_else(
    sealed: Any, place: RunStore, monkeypatch: pytest.MonkeyPatch, held: str
) -> None:
    for step in (10, 20, 30, 40):
        seal_in_store(place, sealed(step, files={"a": b"x", "b": b"y"}), writer="1-aaaa")
    there, delete = keys(place), DirectoryStore.delete

    def refused(store: DirectoryStore, key: str) -> None:
        if key.endswith(held):
            raise UserError(Problem(code="store-refused", message="it has snapshots"))
        delete(store, key)

    with monkeypatch.context() as patch:
        patch.setattr(DirectoryStore, "delete", refused)
        for _ in range(2):
            with pytest.raises(UserError, match="it has snapshots"):
                prune_stored(place, Keep(last=1), attempt=2)
    # A manifest that stays keeps its own objects: what can be seen is whole.
    stays = {key for key in there if key.startswith("step-00000040/")}
    stays |= {key for key in there if key.startswith("step-00000020/")} if held.endswith("manifest.json") else {held}
    assert keys(place) == stays
    prune_stored(place, Keep(last=1), attempt=2)
    assert keys(place) == {key for key in there if key.startswith("step-00000040/")}


def test_credentials_that_are_refused_are_refused_once(sealed: Any, place: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    for step in (10, 20, 30):
        seal_in_store(place, sealed(step, files={"a": b"x"}), writer="1-aaaa")
    asked: list[str] = []

    def refused(_store: DirectoryStore, key: str) -> None:
        asked.append(key)
        raise UserError(Problem(code="credentials", message="expired"))

    monkeypatch.setattr(DirectoryStore, "delete", refused)
    with pytest.raises(UserError, match="expired"):
        prune_stored(place, Keep(last=1), attempt=1)
    assert len(asked) == 1
