"""What a run needs besides a plan before anything starts: its secrets, and a storage that outlives a rented machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from launcher.cli.targets import is_here

if TYPE_CHECKING:
    from runtime.config.schema import TrainingConfig


def check_needs(config: TrainingConfig, environment: Mapping[str, str]) -> None:
    """Raise UserError when a secret is not here, or a run on a rented machine has nowhere to leave its results."""
    from launcher.backend.local.child_environment import check_secrets
    from runtime.config.secrets import check_hub_token, wanted_secrets

    if is_here(config.launch):
        check_secrets(config.launch.secrets, environment)
        check_hub_token(config, environment)
        return
    from launcher.backend.sky.required_storage import check_storage

    # What is stored on this machine alone serves no other.
    check_secrets(wanted_secrets(config), environment)
    check_storage(config.launch.storage)
