"""A copy within Azure that is not done at once is waited for, and not for ever."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from runtime.checkpoint.service import Head
from runtime.config.problem import UserError
from runtime.config.storage import Address


class Blob:
    """One whose copy tells these states, one after another."""

    url = "https://x/c/origin?sig=AbCd"

    def __init__(self, *states: str) -> None:
        self.states = list(states)
        self.aborted: list[str] = []

    def start_copy_from_url(self, url: str, **_condition: object) -> dict[str, str]:
        assert url == self.url
        return {"copy_id": "1", "copy_status": self.states.pop(0)}

    def get_blob_properties(self) -> Any:
        return SimpleNamespace(copy=SimpleNamespace(status=self.states.pop(0) if len(self.states) > 1 else self.states[0]))

    def abort_copy(self, copy: str) -> None:
        self.aborted.append(copy)


def copy(monkeypatch: pytest.MonkeyPatch, blob: Blob) -> list[float]:
    """The seconds that were waited."""
    pytest.importorskip("azure.storage.blob")
    from runtime.checkpoint import azure

    waited: list[float] = []
    monkeypatch.setattr(azure.time, "sleep", waited.append)
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT", "account")
    monkeypatch.setenv("AZURE_STORAGE_SAS_TOKEN", "sig=AbCd")
    service = azure._Azure(Address(kind="az", bucket="c"))
    service._container = SimpleNamespace(get_blob_client=lambda _name: blob)
    service.copy("a", Head(name="origin", size=1, version="1"), checksums=False)
    return waited


def test_what_is_done_at_once_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert copy(monkeypatch, Blob("success")) == []


def test_what_takes_a_while_is(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(copy(monkeypatch, Blob("pending", "pending", "pending", "success"))) == 3


def test_one_that_fails_may_succeed_another_time(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConnectionError, match="'failed'"):
        copy(monkeypatch, Blob("pending", "failed"))


def test_one_that_does_not_end_is_called_off_and_the_file_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    blob = Blob("pending", "pending")
    with pytest.raises(UserError, match="took more than 600 seconds") as caught:
        copy(monkeypatch, blob)
    assert blob.aborted == ["1"]
    assert "AbCd" not in str(caught.value)
