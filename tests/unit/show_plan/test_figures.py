import pytest

from launcher.show.figures import amount, dollars, duration, gib


@pytest.mark.parametrize(("hours", "text"), [(0, "0 s"), (45 / 3600, "45 s"), (41 / 60, "41 min"), (200 / 60, "3 h 20"), (100, "4 d 4 h")])
def test_durations(hours: float, text: str) -> None:
    assert duration(hours) == text


@pytest.mark.parametrize(("value", "text"), [(0, "$0"), (0.371, "$0.37"), (10.84, "$10.8"), (1204.4, "$1,204")])
def test_dollars(value: float, text: str) -> None:
    assert dollars(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(830, "830"), (61_200, "61.2 k"), (50_200_000, "50.2 M"), (8_030_261_248, "8.03 B"), (1.26, "1.26")]
)
def test_amounts(value: float, text: str) -> None:
    assert amount(value) == text


@pytest.mark.parametrize(("value", "text"), [(0.0312, "0.03"), (18.94, "18.9"), (139.7, "140")])
def test_gibibytes(value: float, text: str) -> None:
    assert gib(value) == text
