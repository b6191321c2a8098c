"""What the launcher expects of a run reaches the training process, or does not disturb it."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime.expectation import EXPECTED, expected_peak_gib, write_expectation


def test_what_is_written_is_read(tmp_path: Path) -> None:
    write_expectation(tmp_path, peak_gib=12.34567)
    assert expected_peak_gib(tmp_path) == 12.3457


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"peak_gib": null}', '{"peak_gib": "much"}', '{"peak_gib": NaN}', '{"peak_gib": -1}'])
def test_anything_else_is_no_expectation(tmp_path: Path, content: str) -> None:
    assert expected_peak_gib(None) is None
    assert expected_peak_gib(tmp_path) is None
    (tmp_path / EXPECTED).write_text(content, encoding="utf-8")
    assert expected_peak_gib(tmp_path) is None
