"""Rules about the container image of a run."""

from __future__ import annotations

from collections.abc import Iterator

from runtime.config.finding import Finding
from runtime.config.schema import TrainingConfig
from runtime.config.secrets import REGISTRY_LOGIN


def registry_login_is_whole(config: TrainingConfig) -> Iterator[Finding]:
    """SkyPilot logs in to a registry with three variables, and refuses a task that has one of them alone."""
    missing = [name for name in REGISTRY_LOGIN if name not in config.launch.secrets]
    if missing and len(missing) < len(REGISTRY_LOGIN):
        yield Finding(
            code="missing",
            path=("launch", "secrets"),
            message=f"SkyPilot logs in to a registry of images with {', '.join(REGISTRY_LOGIN)} together, and `secrets` lacks {', '.join(missing)}",
            fix="Name all three, or none.",
        )


RULES = (registry_login_is_whole,)
