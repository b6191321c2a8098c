"""A file goes to Google Cloud Storage in one session, over broken connections and restarts; nothing that has arrived is sent again."""

from __future__ import annotations

import os
import random
import re
import stat
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tenacity import wait_none

from runtime.checkpoint import retry
from runtime.checkpoint.bandwidth import Unlimited
from runtime.checkpoint.checksum import digest_bytes
from runtime.checkpoint.gcs_session import Kept, Session
from runtime.checkpoint.parts import Parts
from runtime.config.problem import UserError
from runtime.config.storage import Address

STEP = 256 << 10


class Service:
    """The protocol of a session as the service documents it: it keeps whole steps of what arrives, says how much, and ignores what it has."""

    def __init__(self) -> None:
        self.sessions: dict[str, bytearray] = {}
        self.ended: set[str] = set()
        self.sent = 0
        self.script: list[str] = []
        """What happens to the next requests: `cut` keeps half and answers nothing, `lost` does it and answers nothing, a number is answered."""

    def put(self, url: str, data: Any, headers: dict[str, str], **_options: Any) -> SimpleNamespace:
        what = self.script.pop(0) if self.script else ""
        if what.isdigit():
            return SimpleNamespace(status_code=int(what), headers={})
        kept, span = self.sessions.get(url), headers["Content-Range"]
        if kept is None:
            return SimpleNamespace(status_code=404, headers={})
        if found := re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", span):
            start, last, total = (int(part) for part in found.groups())
            assert last + 1 - start == len(data)
            assert start <= len(kept), "a hole"
            content = bytes(data)[: len(data) // 2 // STEP * STEP] if what == "cut" else bytes(data)
            self.sent += len(content)
            kept += content[len(kept) - start :]
            if len(kept) == total:
                self.ended.add(url)
        else:
            assert span == "bytes */*"
        if what in ("cut", "lost"):
            raise ConnectionResetError("reset")
        if url in self.ended:
            return SimpleNamespace(status_code=200, headers={})
        return SimpleNamespace(status_code=308, headers={"Range": f"bytes=0-{len(kept) - 1}"} if kept else {})


@pytest.fixture
def server() -> Service:
    return Service()


@pytest.fixture
def google(server: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    pytest.importorskip("google.cloud.storage")
    from runtime.checkpoint import gcs

    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(retry, "_WAIT", wait_none())
    monkeypatch.setattr(gcs, "_CHUNK_BYTES", 4 * STEP)
    monkeypatch.setattr(gcs, "PART_BYTES", STEP)
    made = gcs._Google(Address(kind="gs", bucket="bucket"))
    made._requests = server

    def begun(name: str, size: int) -> Any:
        url = f"session-{len(server.sessions)}"
        server.sessions[url] = bytearray()
        return gcs._Upload(session=made._session(name, url, size), there=0)

    monkeypatch.setattr(made, "_begun", begun)
    return made


def send(google: Any, source: Path, content: bytes) -> None:
    source.write_bytes(content)
    digest, _ = google.send("run/a", source, Parts("test", Unlimited()), checksums=True)
    assert digest == digest_bytes(content)


def kept_files(tmp_path: Path) -> list[Path]:
    return [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    "script", [[], ["cut"], ["", "lost"], ["503", "cut", "lost"], ["", "", "lost"], ["", "", "", "cut", "500", "lost"]]
)
def test_what_breaks_goes_on_from_what_has_arrived(google: Any, server: Service, tmp_path: Path, script: list[str]) -> None:
    content = random.Random(1).randbytes(10 * STEP + 5)
    server.script = script
    send(google, tmp_path / "source", content)
    assert server.sessions == {"session-0": content}
    assert server.sent == len(content)
    assert kept_files(tmp_path) == []


def test_a_restart_goes_on(google: Any, server: Service, tmp_path: Path) -> None:
    content = random.Random(1).randbytes(10 * STEP + 5)
    server.script = ["", "403"]
    with pytest.raises(UserError):
        send(google, tmp_path / "source", content)
    (kept,) = kept_files(tmp_path)
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    send(google, tmp_path / "source", content)
    assert server.sessions == {"session-0": content}
    assert server.sent == len(content)
    assert kept_files(tmp_path) == []


@pytest.mark.parametrize("what", ["another file", "the session is gone"])
def test_an_upload_that_cannot_be_gone_on_with_is_begun_anew(google: Any, server: Service, tmp_path: Path, what: str) -> None:
    content = random.Random(1).randbytes(10 * STEP)
    server.script = ["", "403"]
    with pytest.raises(UserError):
        send(google, tmp_path / "source", content if what != "another file" else b"x" * len(content))
    if what != "another file":
        server.sessions["session-0"] = None  # type: ignore[assignment]
    send(google, tmp_path / "source", content)
    assert server.sessions["session-1"] == content


def test_a_session_that_the_service_ends_midway_is_no_endless_loop(google: Any, server: Service, tmp_path: Path) -> None:
    server.script = ["", "404"]
    with pytest.raises(ConnectionError, match="called off"):
        send(google, tmp_path / "source", bytes(10 * STEP))
    assert kept_files(tmp_path) == []


def test_a_session_that_is_forgotten_once_it_is_complete_was_complete(google: Any, server: Service, tmp_path: Path) -> None:
    """Its last answer was lost. Who sends compares what is there."""
    content = random.Random(1).randbytes(10 * STEP)
    server.script = ["", "", "lost", "404"]
    send(google, tmp_path / "source", content)
    assert server.sessions == {"session-0": content}
    assert kept_files(tmp_path) == []


def test_an_answer_that_is_none_of_the_protocols_is_an_error() -> None:
    service = Service()
    service.script = ["418"]
    session = Session(url="u", total=1, requests=service, refused=lambda answer: ValueError(answer.status_code))
    with pytest.raises(ValueError, match="418"):
        session.received()


def test_what_is_remembered_is_of_one_file_and_for_a_week(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    Kept.of("gs://b/a", 10).note("url", 4, "sum")
    again = Kept.of("gs://b/a", 10)
    assert (again.url, again.sent, again.checksum) == ("url", 4, "sum")
    assert Kept.of("gs://b/a", 11).url == Kept.of("gs://b/b", 10).url == ""
    Kept.of("gs://b/b", 10).note("other", 4, "sum")
    os.utime(again.path, (1.0, 1.0))
    assert Kept.of("gs://b/a", 10).url == ""
    Kept.of("gs://b/b", 10).forget()
    assert kept_names(tmp_path) == []
    again.path.write_text("{")
    assert Kept.of("gs://b/a", 10).url == ""


def kept_names(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*") if path.is_file()]


def test_a_disk_that_refuses_only_forgets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    kept = Kept.of("gs://b/a", 10)
    kept.note("url", 4, "sum")
    assert Kept.of("gs://b/a", 10).url == ""
    kept.forget()
