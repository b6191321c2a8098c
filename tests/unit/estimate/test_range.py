import pytest

from launcher.estimate.range import Range, exactly


def test_a_range_keeps_its_order_and_its_basis_when_it_is_converted() -> None:
    hours = Range(value=2.0, low=1.0, high=4.0, basis="three runs")
    assert hours.times(60) == Range(value=120.0, low=60.0, high=240.0, basis="three runs")


def test_a_value_outside_its_spread_is_refused() -> None:
    with pytest.raises(ValueError, match="low <= value <= high"):
        Range(value=5.0, low=6.0, high=7.0)


def test_json_names_the_basis_only_when_there_is_one() -> None:
    assert exactly(3.14159).to_json(2) == {"value": 3.14, "low": 3.14, "high": 3.14}
    assert exactly(1, "measured").to_json()["basis"] == "measured"
