"""A checkpoint's whole life in every store: sealed, found, brought back, replaced, deleted; and what is said when the store refuses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest
from object_servers import ObjectServer, go_online

from runtime.checkpoint.layout import step_folder
from runtime.checkpoint.manifest import read_manifest, verify
from runtime.checkpoint.opening import open_store
from runtime.checkpoint.restore import restore_newest
from runtime.checkpoint.retention import Keep, prune_stored
from runtime.checkpoint.sealing import new_staging, seal
from runtime.checkpoint.stored import RunStore, verify_stored
from runtime.checkpoint.storing import LostError, seal_in_store
from runtime.config.problem import ExitCode, UserError

KINDS = ("directory", "seaweedfs", "juicefs", "moto", "fakegcs", "azurite", "hub")


@pytest.fixture(params=KINDS)
def place(
    request: pytest.FixtureRequest, tmp_path: Path, object_server: Callable[[str], ObjectServer], monkeypatch: pytest.MonkeyPatch
) -> RunStore:
    if request.param == "directory":
        return RunStore(store=open_store(str(tmp_path / "store")), run="run")
    server = object_server(request.param)
    set_variables(monkeypatch, server.variables)
    go_online(monkeypatch, request.param)
    return RunStore(store=open_store(f"{server.address}/{uuid4()}"), run="run")


@pytest.fixture
def s3_server(object_server: Callable[[str], ObjectServer], monkeypatch: pytest.MonkeyPatch) -> ObjectServer:
    server = object_server("seaweedfs")
    set_variables(monkeypatch, server.variables)
    return server


def set_variables(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


def sealed(folder: Path, step: int, *, weights: bytes, kind: str = "checkpoint", attempt: int = 1) -> Path:
    staging = new_staging(folder)
    (staging / "model.safetensors").write_bytes(weights)
    (staging / "rng").mkdir()
    (staging / "rng" / "rank-0.pt").write_bytes(b"\x00\x01")
    (staging / "empty").touch()
    final = folder / (step_folder(step) if kind == "checkpoint" else f"{kind}-{attempt}")
    seal(staging, final, step=step, config_hash="abc", world_size=1, created=1.0, kind=kind, attempt=attempt)  # type: ignore[arg-type]
    return final


def test_a_checkpoint_lives_and_dies(place: RunStore, tmp_path: Path) -> None:
    local = tmp_path / "checkpoints"
    for step in (10, 20, 30):
        folder = sealed(local, step, weights=bytes([step]) * 9_000_000)
        assert verify_stored(place, seal_in_store(place, folder, writer="1-aaaa")) == ()
    assert place.steps() == {10: True, 20: True, 30: True}

    # The newest is damaged in the store: a new machine walks back past it.
    broken = next(file for file in place.manifest("checkpoints/step-00000030").files if file.path == "model.safetensors")
    assert broken.key is not None
    place.store.put_bytes(place.key(broken.key), b"x" * broken.size)
    survey = restore_newest([place], tmp_path / "machine")
    assert survey.found is not None
    assert (survey.found.step, [problem.code for problem in survey.skipped]) == (20, ["wrong-checksum"])
    restored = tmp_path / "machine" / step_folder(20)
    assert verify(restored, read_manifest(restored)) == ()

    # Another writer of a step that is sealed already, with other content.
    with pytest.raises(LostError):
        seal_in_store(place, sealed(tmp_path / "other", 20, weights=b"other"), writer="2-bbbb")
    assert prune_stored(place, Keep(last=1), attempt=2) == (10, 20)
    assert place.steps() == {30: True}


def test_the_final_model_of_a_second_training_replaces_the_first(place: RunStore, tmp_path: Path) -> None:
    for attempt in (1, 2):
        folder = sealed(tmp_path, 40, weights=b"%d" % attempt * 100, kind="final", attempt=attempt)
        seal_in_store(place, folder, writer=f"{attempt}-aaaa")
        now = place.manifest("final")
        assert now.same_content(read_manifest(folder))
        assert verify_stored(place, now) == ()
    assert all("/2-aaaa/" in stat.key or stat.key.endswith("manifest.json") for stat in place.store.list("run/final/"))


def test_wrong_keys_are_refused_and_never_repeated(s3_server: ObjectServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-the-secret")
    with pytest.raises(UserError, match="AWS_SECRET_ACCESS_KEY") as caught:
        list(open_store(f"{s3_server.address}/x").list(""))
    assert (caught.value.problems[0].code, caught.value.exit_code) == ("credentials", ExitCode.REMOTE_REFUSED)
    assert "not-the-secret" not in str(caught.value)


def test_no_keys_at_all_are_told_by_the_names_of_the_variables(
    s3_server: ObjectServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    with pytest.raises(UserError, match="AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY") as caught:
        open_store(f"{s3_server.address}/x").stat("run/a")
    assert caught.value.problems[0].code == "credentials"


@pytest.mark.parametrize("kind", ["seaweedfs", "fakegcs", "azurite"])
def test_a_missing_bucket_is_not_an_empty_store(
    kind: str, object_server: Callable[[str], ObjectServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = object_server(kind)
    set_variables(monkeypatch, server.variables)
    scheme = server.address.partition("://")[0]
    with pytest.raises(UserError, match="no bucket or container 'nowhere'") as caught:
        RunStore(store=open_store(f"{scheme}://nowhere/x"), run="run").steps()
    assert (caught.value.problems[0].code, caught.value.exit_code) == ("missing-bucket", ExitCode.REMOTE_REFUSED)


def test_an_endpoint_can_stand_in_the_address(s3_server: ObjectServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    store = open_store(f"{s3_server.address}/{uuid4()}?endpoint={s3_server.variables['AWS_ENDPOINT_URL']}")
    store.put_bytes("run/a", b"x")
    assert b"".join(open_store(store.url()).read("run/a")) == b"x"
    assert b"".join(open_store(store.url("run")).read("a")) == b"x"
