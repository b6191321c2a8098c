"""States that only Azure Blob knows, on its emulator: leases, snapshots, folders, uncommitted blocks of two, tokens that expire, containers that go."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from fault_proxy import Fault, answers, calm, each_once, proxied
from object_servers import AZURE_ACCOUNT, AZURE_KEY, ObjectServer
from tenacity import wait_none

from runtime.checkpoint import patience, retry
from runtime.checkpoint.checksum import digest_bytes
from runtime.checkpoint.opening import open_store
from runtime.checkpoint.parts import PART_BYTES
from runtime.checkpoint.store import Store, digest_object
from runtime.config.problem import ExitCode, UserError

CONTENT = random.Random(5).randbytes(2 * PART_BYTES + 5)


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (retry, patience):
        monkeypatch.setattr(module, "_WAIT", wait_none())


@pytest.fixture
def azurite(object_server: Callable[[str], ObjectServer], monkeypatch: pytest.MonkeyPatch) -> ObjectServer:
    server = object_server("azurite")
    for name, value in server.variables.items():
        monkeypatch.setenv(name, value)
    return server


@pytest.fixture
def service(azurite: ObjectServer) -> Any:
    """Azure's own client, for what a store never does."""
    from azure.storage.blob import BlobServiceClient

    return BlobServiceClient.from_connection_string(azurite.variables["AZURE_STORAGE_CONNECTION_STRING"])


@pytest.fixture
def prefix() -> str:
    return str(uuid4())


@pytest.fixture
def store(azurite: ObjectServer, prefix: str) -> Store:
    made = open_store(f"{azurite.address}/{prefix}")
    assert made.capabilities.conditional_put
    return made


def refusal(ask: Callable[[], object]) -> tuple[str, str]:
    with pytest.raises(UserError) as caught:
        ask()
    (problem,) = caught.value.problems
    assert caught.value.exit_code == ExitCode.REMOTE_REFUSED
    assert AZURE_KEY not in str(caught.value)
    assert "sig=" not in str(caught.value)
    return problem.code, problem.message


def test_a_lease_of_somebody_else_is_told_and_is_no_lost_race(store: Store, service: Any, prefix: str) -> None:
    store.put_bytes("run/a", b"x")
    stat = store.stat("run/a")
    assert stat is not None
    lease = service.get_blob_client("tests", f"{prefix}/run/a").acquire_lease()
    for ask in (
        lambda: store.put_bytes("run/a", b"y"),
        lambda: store.put_bytes("run/a", b"y", replaces=stat.version),
        lambda: store.delete("run/a"),
    ):
        code, message = refusal(ask)
        assert code == "store-refused"
        assert "somebody holds a lease on it" in message
    lease.release()
    store.put_bytes("run/a", b"y", replaces=stat.version)
    store.delete("run/a")


def test_what_somebody_made_a_snapshot_of_is_left_to_them(store: Store, service: Any, prefix: str) -> None:
    store.put_bytes("run/a", b"x")
    blob = service.get_blob_client("tests", f"{prefix}/run/a")
    blob.create_snapshot()
    assert [stat.key for stat in store.list("")] == ["run/a"]
    code, message = refusal(lambda: store.delete("run/a"))
    assert code == "store-refused"
    assert "it has snapshots" in message
    blob.delete_blob(delete_snapshots="only")
    store.delete("run/a")


def test_folders_are_no_objects(store: Store, service: Any, prefix: str) -> None:
    """An account with a hierarchical namespace lists them; its emulator has none."""
    store.put_bytes("run/a/b", b"x")
    for folder in ("run", "run/a"):
        service.get_blob_client("tests", f"{prefix}/{folder}").upload_blob(b"", metadata={"hdi_isfolder": "true"})
    assert [stat.key for stat in store.list("run/")] == ["run/a/b"]
    assert [stat.key for stat in store.list("")] == ["run/a/b"]


def staged(store: Store, key: str, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All blocks of a file are there, and nobody has put them together."""
    from azure.storage.blob import BlobClient

    def killed(*_args: object, **_options: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(BlobClient, "commit_block_list", killed)
        with pytest.raises(KeyboardInterrupt):
            store.put_file(key, source)


@pytest.mark.parametrize("same", [True, False], ids=["same content", "other content"])
def test_two_put_blocks_of_one_object_together(
    store: Store, azurite: ObjectServer, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, same: bool
) -> None:
    """What one puts together drops the blocks that the other has staged; blocks are named by what is in them."""
    from azure.storage.blob import BlobClient

    contents = [CONTENT, CONTENT if same else CONTENT[::-1]]
    sources = [tmp_path / "one", tmp_path / "two"]
    for source, content in zip(sources, contents, strict=True):
        source.write_bytes(content)
    other = open_store(f"{azurite.address}/{prefix}")
    assert other.capabilities == store.capabilities
    commit, turns = BlobClient.commit_block_list, iter([True])

    def overtaken(self: Any, *args: Any, **options: Any) -> Any:
        if next(turns, False):
            assert other.put_file("run/a", sources[1]) == digest_bytes(contents[1])
        return commit(self, *args, **options)

    monkeypatch.setattr(BlobClient, "commit_block_list", overtaken)
    if not same:
        with pytest.raises(ConnectionError):
            store.put_file("run/a", sources[0])
        assert digest_object(store, "run/a") == digest_bytes(contents[1])
    assert store.put_file("run/a", sources[0]) == digest_bytes(contents[0])
    assert digest_object(store, "run/a") == digest_bytes(contents[0])


def test_blocks_that_the_service_has_dropped_are_sent_again(
    store: Store, service: Any, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "source").write_bytes(CONTENT)
    staged(store, "run/a", tmp_path / "source", monkeypatch)
    service.get_blob_client("tests", f"{prefix}/run/a").upload_blob(b"drops them", overwrite=True)
    assert store.put_file("run/a", tmp_path / "source") == digest_bytes(CONTENT)
    assert digest_object(store, "run/a") == digest_bytes(CONTENT)


@pytest.fixture
def by_token(azurite: ObjectServer, monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Makes the environment hold a token that is good for so many seconds from now."""
    from azure.storage.blob import ContainerSasPermissions, generate_container_sas

    def install(seconds: float) -> None:
        token = generate_container_sas(
            AZURE_ACCOUNT,
            "tests",
            account_key=AZURE_KEY,
            permission=ContainerSasPermissions(read=True, write=True, create=True, delete=True, list=True),
            start=datetime.now(UTC) - timedelta(hours=1),
            expiry=datetime.now(UTC) + timedelta(seconds=seconds),
        )
        monkeypatch.delenv("AZURE_STORAGE_CONNECTION_STRING", raising=False)
        monkeypatch.setenv("AZURE_STORAGE_SAS_TOKEN", token)

    return install


def test_a_token_that_has_expired_is_told_and_a_new_one_goes_on(
    azurite: ObjectServer, prefix: str, by_token: Callable[[float], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = f"{azurite.address}/{prefix}?endpoint={azurite.endpoint}/{AZURE_ACCOUNT}"
    (tmp_path / "source").write_bytes(CONTENT)
    by_token(600)
    store = open_store(address)
    store.put_bytes("run/b", b"x")
    staged(store, "run/a", tmp_path / "source", monkeypatch)
    by_token(-600)
    for ask in (
        lambda: open_store(address).put_file("run/a", tmp_path / "source"),
        lambda: list(open_store(address).list("")),
        lambda: open_store(address).stat("run/b"),
        lambda: open_store(address).delete("run/b"),
    ):
        code, message = refusal(ask)
        assert code == "credentials"
        assert "the SAS token has expired" in message
    by_token(600)
    line = open_store(address)
    sent: list[int] = []
    monkeypatch.setattr(line._parts.bandwidth, "take", sent.append)  # type: ignore[attr-defined]
    assert line.put_file("run/a", tmp_path / "source") == digest_bytes(CONTENT)
    assert sent == []
    assert [stat.key for stat in line.list("")] == ["run/a", "run/b"]


def test_a_token_is_enough_to_copy(azurite: ObjectServer, prefix: str, by_token: Callable[[float], None], tmp_path: Path) -> None:
    by_token(600)
    store = open_store(f"{azurite.address}/{prefix}?endpoint={azurite.endpoint}/{AZURE_ACCOUNT}")
    (tmp_path / "source").write_bytes(b"frozen")
    store.put_file("run/1/a", tmp_path / "source")
    assert store.put_file("run/2/a", tmp_path / "source", origin="run/1/a").copied
    assert digest_object(store, "run/2/a") == digest_bytes(b"frozen")


def test_a_container_that_goes_is_told_and_one_that_comes_back_is_used(azurite: ObjectServer, service: Any, prefix: str) -> None:
    container = service.create_container(f"c-{prefix}")
    store = open_store(f"az://c-{prefix}/x")
    store.put_bytes("run/a", b"x")
    container.delete_container()
    for ask in (
        lambda: store.put_bytes("run/a", b"x"),
        lambda: store.stat("run/a"),
        lambda: list(store.list("")),
        lambda: list(store.read("run/a")),
    ):
        assert refusal(ask)[0] == "missing-bucket"
    container.create_container()
    store.put_bytes("run/a", b"y")
    assert b"".join(store.read("run/a")) == b"y"


@pytest.fixture
def faulty(azurite: ObjectServer, prefix: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Store, Callable[[Fault | None], None]]]:
    """A store, and how to have each of its requests answered so when it is made for the first time."""
    with proxied(azurite.endpoint) as proxy:
        for name, value in proxy.variables(azurite.variables).items():
            monkeypatch.setenv(name, value)
        made = open_store(f"{azurite.address}/{prefix}")
        made.put_bytes("run/a", b"x")

        def set_fault(fault: Fault | None) -> None:
            proxy.choose = calm if fault is None else each_once(fault)

        yield made, set_fault


@pytest.mark.parametrize("code", ["ContainerBeingDeleted", "PendingCopyOperation"])
def test_conflicts_that_pass_are_not_felt(faulty: tuple[Store, Callable[[Fault | None], None]], code: str) -> None:
    store, set_fault = faulty
    set_fault(answers(409, code))
    assert b"".join(store.read("run/a")) == b"x"
    store.put_bytes("run/b", b"x", create=True)
    assert [stat.key for stat in store.list("")] == ["run/a", "run/b"]
    store.delete("run/b")
