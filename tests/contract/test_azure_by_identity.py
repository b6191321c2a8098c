"""A store at Azure whose requests are signed by a service principal, on the emulator: all that a run asks of it, with tokens that end meanwhile."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from entra import Entra, entra
from object_servers import ObjectServer

from runtime.checkpoint.checksum import digest_bytes
from runtime.checkpoint.opening import open_store
from runtime.checkpoint.parts import PART_BYTES
from runtime.checkpoint.store import digest_object
from runtime.config.storage import SECRETS

CONTENT = random.Random(5).randbytes(PART_BYTES + 5)


@pytest.fixture
def tokens(tmp_path: Path) -> Iterator[Entra]:
    with entra(tmp_path) as running:
        yield running


def test_a_run_keeps_its_checkpoints_without_a_key(
    object_server: Callable[[str], ObjectServer], tokens: Entra, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("azure.identity", reason="not installed: pip install azure-identity")
    azurite = object_server("azurite-by-token")
    for name in {*SECRETS["az"], *(name for name in os.environ if name.lower().endswith("_proxy"))}:
        monkeypatch.delenv(name, raising=False)
    both = tmp_path / "trusted.pem"
    both.write_bytes(b"".join(Path(path).read_bytes() for path in (azurite.variables["REQUESTS_CA_BUNDLE"], tokens.certificate)))
    for name, value in {**tokens.principal(), "REQUESTS_CA_BUNDLE": str(both)}.items():
        monkeypatch.setenv(name, value)
    # Every request that begins a minute later finds its token about to end.
    tokens.lasts_s = 60
    place, _, query = azurite.address.partition("?")
    store = open_store(f"{place}/{uuid4()}?{query}")
    assert store.capabilities.conditional_put

    (tmp_path / "weights").write_bytes(CONTENT)
    assert store.put_file("run/1/weights", tmp_path / "weights") == digest_bytes(CONTENT)
    assert store.put_file("run/2/weights", tmp_path / "weights", origin="run/1/weights") == digest_bytes(CONTENT)
    assert digest_object(store, "run/2/weights") == digest_bytes(CONTENT)
    store.put_bytes("run/manifest", b"{}", create=True)
    with pytest.raises(FileExistsError):
        store.put_bytes("run/manifest", b"other", create=True)
    assert [stat.key for stat in store.list("")] == ["run/1/weights", "run/2/weights", "run/manifest"]
    store.delete("run/manifest")
    assert store.stat("run/manifest") is None
    assert len(tokens.issued) > 10
