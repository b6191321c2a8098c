"""A real yaml-language-server, as VS Code runs it, underlines what is wrong with a recipe and explains its keys.

Left out where there is none: `npm install yaml-language-server`, then YAML_LANGUAGE_SERVER=node_modules/.bin/yaml-language-server.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runtime.config.json_schema import json_schema

SERVER = os.environ.get("YAML_LANGUAGE_SERVER") or shutil.which("yaml-language-server")
pytestmark = pytest.mark.skipif(SERVER is None, reason="yaml-language-server is not installed here")

RECIPE = "base_model: org/model\nlearning_rate: 1e-5\ndatasets:\n  - path: rows.jsonl\n    type: alpaca\nval_set_size:\n"


class Editor:
    """One editor window: sends messages of the language server protocol and waits for their answers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process = subprocess.Popen([str(SERVER), "--stdio"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.count = 0
        self.ask("initialize", {"processId": None, "rootUri": folder.as_uri(), "capabilities": {}})
        self.tell("initialized", {})

    def send(self, message: dict[str, Any]) -> None:
        content = json.dumps({"jsonrpc": "2.0", **message}).encode()
        assert self.process.stdin is not None
        self.process.stdin.write(b"Content-Length: %d\r\n\r\n" % len(content) + content)
        self.process.stdin.flush()

    def tell(self, method: str, values: Any) -> None:
        self.send({"method": method, "params": values})

    def received(self) -> Iterator[dict[str, Any]]:
        assert self.process.stdout is not None
        while header := self.process.stdout.readline():
            size = int(header.split(b":")[1])
            while self.process.stdout.readline().strip():
                pass
            message = json.loads(self.process.stdout.read(size))
            if "id" in message and "method" in message:  # the server asks for settings: there are none
                count = len(message["params"]["items"]) if message["method"] == "workspace/configuration" else 0
                self.send({"id": message["id"], "result": [None] * count if count else None})
                continue
            yield message

    def ask(self, method: str, values: Any) -> Any:
        self.count += 1
        self.send({"id": self.count, "method": method, "params": values})
        return next(message for message in self.received() if message.get("id") == self.count).get("result")

    def open(self, name: str, text: str) -> list[dict[str, Any]]:
        """What is underlined in a recipe with this text."""
        text = f"# yaml-language-server: $schema={(self.folder / 'schema.json').as_uri()}\n{text}"
        uri = (self.folder / name).as_uri()
        self.tell("textDocument/didOpen", {"textDocument": {"uri": uri, "languageId": "yaml", "version": 1, "text": text}})
        for message in self.received():
            if message.get("method") == "textDocument/publishDiagnostics" and message["params"]["uri"] == uri:
                return list(message["params"]["diagnostics"])
        return []


@pytest.fixture
def editor(tmp_path: Path) -> Iterator[Editor]:
    (tmp_path / "schema.json").write_text(json.dumps(json_schema()), encoding="utf-8")
    window = Editor(tmp_path)
    yield window
    window.process.kill()
    window.process.wait()


def test_a_recipe_is_underlined_and_explained(editor: Editor) -> None:
    assert editor.open("good.yml", RECIPE) == []
    (typo,) = editor.open("typo.yml", RECIPE + "lora_rr: 8\n")
    assert (typo["range"]["start"]["line"], "lora_rr" in typo["message"]) == (7, True)
    (wrong,) = editor.open("wrong.yml", RECIPE + "micro_batch_size: many\n")
    assert wrong["range"]["start"]["line"] == 7
    place = {"textDocument": {"uri": (editor.folder / "good.yml").as_uri()}, "position": {"line": 2, "character": 3}}
    assert "learning rate" in json.dumps(editor.ask("textDocument/hover", place)).lower()
    offered = editor.ask("textDocument/completion", {**place, "position": {"line": 7, "character": 0}})
    labels = {item["label"] for item in (offered["items"] if isinstance(offered, dict) else offered)}
    assert {"lora_r", "optimizer", "launch"} <= labels
