"""A machine a run could take, with its price, and what the run would cost there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from launcher.estimate.range import Range

OfferVerdict = Literal["ok", "over-budget", "does-not-fit"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SpotRisk:
    """What being interruptible means for a run. `preemptions` and `save_interval_h` are None when its length is not known; `loses`: on demand costs less."""

    hours_between: Range
    preemptions: float | None
    save_interval_h: float | None
    loses: bool

    def to_json(self) -> dict[str, Any]:
        """The risk as JSON."""
        return {
            "hours_between_preemptions": self.hours_between.to_json(2),
            "expected_preemptions": round(self.preemptions, 3) if self.preemptions is not None else None,
            "save_interval_h": round(self.save_interval_h, 4) if self.save_interval_h is not None else None,
            "loses": self.loses,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """One row of the offers. `expected_usd` and `expected_h` are None when the size of the run is not known; `risk` is None on demand; `quota`
    is what it counts against in an account, where that is known."""

    cloud: str
    region: str
    instance: str
    gpus: str
    usd_per_h: float
    spot: bool
    expected_usd: Range | None
    expected_h: Range | None
    verdict: OfferVerdict
    risk: SpotRisk | None = None
    quota: str | None = None
    transfer_usd: float = 0.0
    """What of the expected cost is for sending checkpoints and keeping them."""
    accelerator: str = ""
    """What SkyPilot's catalog of that cloud calls the GPU, which is how it has to be asked for there; empty where there is no catalog."""

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
            "risk": self.risk.to_json() if self.risk is not None else None,
            "quota": self.quota,
            "transfer_usd": round(self.transfer_usd, 4),
            "accelerator": self.accelerator,
        }
