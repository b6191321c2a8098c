"""Writes docs/config.md, the reference of all options, from the schema that checks recipes. Run by `make docs`."""

from __future__ import annotations

from pathlib import Path

from runtime.config.reference import reference

TARGET = Path(__file__).resolve().parent / "config.md"

if __name__ == "__main__":
    TARGET.write_text(reference(), encoding="utf-8")
