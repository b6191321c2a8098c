"""A machine a run could take, with its price, and what the run would cost there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from launcher.estimate.range import Range

OfferVerdict = Literal["ok", "over-budget", "does-not-fit"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """One row of the offers. `expected_usd` and `expected_h` are None when the size of the run is not known."""

    cloud: str
    region: str
    instance: str
    gpus: str
    usd_per_h: float
    spot: bool
    expected_usd: Range | None
    expected_h: Range | None
    verdict: OfferVerdict

    def to_json(self) -> dict[str, Any]:
        """The offer as CONTRACT's JSON, with the spreads beside the expected figures."""
        return {
            "cloud": self.cloud,
            "region": self.region,
            "instance": self.instance,
            "gpus": self.gpus,
            "usd_per_h": self.usd_per_h,
            "spot": self.spot,
            "expected_usd": round(self.expected_usd.value, 4) if self.expected_usd is not None else None,
            "expected_h": round(self.expected_h.value, 4) if self.expected_h is not None else None,
            "usd_range": self.expected_usd.to_json() if self.expected_usd is not None else None,
            "h_range": self.expected_h.to_json() if self.expected_h is not None else None,
            "verdict": self.verdict,
        }
