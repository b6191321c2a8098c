"""Without a network the Hub's cache is used at once; without a Hub name nothing is asked."""

from __future__ import annotations

import os
import socket
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from runtime.model.network import go_offline_if_alone


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy, no setting, no Hub library yet; an endpoint on this machine that nobody listens on."""
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.delitem(sys.modules, "huggingface_hub", raising=False)
    # Registered for removal after the test, whatever the code under test sets.
    monkeypatch.setenv("HF_HUB_OFFLINE", "x")
    monkeypatch.delenv("HF_HUB_OFFLINE")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{free.getsockname()[1]}")


def recipe(base_model: str, **values: Any) -> Any:
    given = {
        "tokenizer_config": None,
        "hub_model_id": None,
        "push_dataset_to_hub": None,
        "datasets": [SimpleNamespace(path="./rows.jsonl")],
    }
    return SimpleNamespace(base_model=base_model, **given | values)


def test_a_hub_name_without_a_hub() -> None:
    assert go_offline_if_alone(recipe("org/model"))
    assert os.environ["HF_HUB_OFFLINE"] == "1"


def test_a_recipe_of_local_files_asks_nobody() -> None:
    assert not go_offline_if_alone(recipe("./model"))
    assert "HF_HUB_OFFLINE" not in os.environ


def test_a_hub_that_answers_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        assert not go_offline_if_alone(recipe("org/model"))


@pytest.mark.parametrize("option", ["hub_model_id", "push_dataset_to_hub"])
def test_a_recipe_that_pushes_goes_on_asking(option: str) -> None:
    assert not go_offline_if_alone(recipe("org/model", **{option: "me/mine"}))
    assert "HF_HUB_OFFLINE" not in os.environ
