"""Writes data/launcher-help.jsonl, the demo's training rows, from the hand-written facts in data/knowledge.yml.

    python examples/build_dataset.py           # write it
    python examples/build_dataset.py --check   # exit 1 when the committed file is not what the table gives

The same table always gives the same bytes: phrasings rotate with the position of a fact, nothing is random.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

DATA = Path(__file__).parent / "data"
TABLE = DATA / "knowledge.yml"
ROWS = DATA / "launcher-help.jsonl"

Turns = list[tuple[str, str]]

ASK_DOES = ("What does {0} do?", "What is {0} for?", "Explain the option {0}.", "Tell me about {0}.", "What is the meaning of {0}?")
ASK_PICK = ("Which value should I take for {0}?", "What is a good value for {0}?", "How should I set {0}?", "Any advice on {0}?")
ASK_WRITE = ("How do I write {0} in a recipe?", "Show me {0} in YAML.", "Give me an example of {0}.")
ASK_COMMAND = ("How do I {0}?", "Which command do I need to {0}?", "I want to {0}. How?")
ASK_EXIT = ("What does exit code {0} mean?", "The launcher ended with code {0}. Why?")


def conversations(table: dict[str, Any]) -> Iterator[Turns]:
    """Every conversation of the data set as (question, answer) turns, in the order of the table."""
    for position, (name, fact) in enumerate((table["options"] | table["launch"]).items()):
        does = fact["does"].replace("It ", f"{name} ", 1)
        write = f"Write {fact['write']}"
        yield [(ASK_DOES[position % 5].format(name), does)]
        yield [(ASK_DOES[(position + 2) % 5].format(name), does)]
        if "pick" in fact:
            yield [(ASK_PICK[position % 4].format(name), fact["pick"])]
        yield [(ASK_WRITE[position % 3].format(name), write)]
        if position % 3 == 0:
            yield [(ASK_DOES[(position + 1) % 5].format(name), does), ("And how do I write it?", write)]
    for position, (command, fact) in enumerate(table["commands"].items()):
        for offset, wish in enumerate(fact["want"]):
            yield [(ASK_COMMAND[(position + offset) % 3].format(wish), f"Use {command}. {fact['does']}")]
        yield [(f"What does {command} do?", fact["does"])]
    for code, meaning in table["exit_codes"].items():
        for ask in ASK_EXIT:
            yield [(ask.format(code), f"Code {code} means that {meaning}.")]
    for entry in table["errors"] + table["ideas"]:
        for ask in entry["ask"]:
            yield [(ask, entry["answer"])]


def render(table: dict[str, Any]) -> str:
    """The data set as JSON lines, one `messages` list a row. Raises ValueError when two rows ask the same thing."""
    lines: dict[str, str] = {}
    for turns in conversations(table):
        messages = [
            message for ask, answer in turns for message in ({"role": "user", "content": ask}, {"role": "assistant", "content": answer})
        ]
        key = "\n".join(ask for ask, _ in turns)
        if key in lines:
            raise ValueError(f"asked twice: {key}")
        lines[key] = json.dumps({"messages": messages}, ensure_ascii=False)
    return "\n".join(lines.values()) + "\n"


def main() -> int:
    text = render(yaml.safe_load(TABLE.read_text(encoding="utf-8")))
    if "--check" in sys.argv[1:]:
        same = ROWS.exists() and ROWS.read_text(encoding="utf-8") == text
        print(f"{ROWS} is {'up to date' if same else 'not what the table gives: run examples/build_dataset.py'}")
        return 0 if same else 1
    ROWS.write_text(text, encoding="utf-8")
    print(f"{text.count(chr(10))} rows in {ROWS}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
