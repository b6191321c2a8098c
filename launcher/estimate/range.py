"""An estimated figure: a value, how far off it may be, and where it comes from."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """An estimate with its spread. `basis` says in a few words what it rests on; the unit is in the name of the field that holds it."""

    value: float
    low: float
    high: float
    basis: str = ""

    def __post_init__(self) -> None:
        if not self.low <= self.value <= self.high:
            raise ValueError(f"a range needs low <= value <= high, got {self.low} <= {self.value} <= {self.high}")

    def times(self, factor: float) -> Range:
        """The range in another unit; `factor` must not be negative."""
        return Range(value=self.value * factor, low=self.low * factor, high=self.high * factor, basis=self.basis)

    def to_json(self, digits: int = 4) -> dict[str, float | str]:
        """`{value, low, high}` and the basis when there is one."""
        figures: dict[str, float | str] = {
            "value": round(self.value, digits),
            "low": round(self.low, digits),
            "high": round(self.high, digits),
        }
        return figures | ({"basis": self.basis} if self.basis else {})


def exactly(value: float, basis: str = "") -> Range:
    """A figure without a spread."""
    return Range(value=value, low=value, high=value, basis=basis)
