"""New limits for a run that goes on: laid over the config it was started with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import yaml

CONFIG_VARIABLE = "LAUNCHER_CONFIG"
"""The variable of a task that holds the run's config."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What a resumed run may use from now on; None leaves what its recipe says. The cap on money counts what was spent before, the one on hours does not."""

    max_cost_usd: float | None = None
    max_hours: float | None = None

    @property
    def given(self) -> dict[str, float]:
        """The options of `launch` that are set anew."""
        found = {"max_cost_usd": self.max_cost_usd, "max_hours": self.max_hours}
        return {name: value for name, value in found.items() if value is not None}

    def over_config(self, text: str) -> str:
        """The config with these limits in its `launch` section."""
        if not self.given:
            return text
        content = yaml.safe_load(text)
        content["launch"] = {**(content.get("launch") or {}), **self.given}
        return _dumped(content)

    def over_task(self, text: str) -> str:
        """The task whose machine trains with that config."""
        if not self.given:
            return text
        content = yaml.safe_load(text)
        content["envs"][CONFIG_VARIABLE] = self.over_config(content["envs"][CONFIG_VARIABLE])
        return _dumped(content)


UNCHANGED = Bounds()


def _dumped(content: Any) -> str:
    text: str = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=120)
    return text
