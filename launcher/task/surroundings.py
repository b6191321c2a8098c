"""What of this machine's environment a run elsewhere is given: settings by value, secrets by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from launcher.plan.azure_login import unsent
from runtime.config.secrets import handed_secrets

if TYPE_CHECKING:
    from runtime.config.schema import TrainingConfig

NODE_PYTHON = "LAUNCHER_NODE_PYTHON"
"""Names an interpreter with the training stack on the machines of a cluster of one's own; nothing is installed there then."""
GOOGLE_FILE = "GOOGLE_APPLICATION_CREDENTIALS"
GOOGLE_KEY = "LAUNCHER_GOOGLE_KEY"
"""The content of that key file, as a secret of its own: a path of this machine says nothing elsewhere."""

# Settings without which a store, the Hub or a tracker would be another one there.
_SETTINGS = (
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_REQUEST_CHECKSUM_CALCULATION",
    "AWS_RESPONSE_CHECKSUM_VALIDATION",
    "AZURE_STORAGE_ACCOUNT",
    "AZURE_AUTHORITY_HOST",
    "GOOGLE_CLOUD_PROJECT",
    "STORAGE_EMULATOR_HOST",
    "HF_ENDPOINT",
    "HF_HUB_DISABLE_XET",
    "WANDB_PROJECT",
    "WANDB_ENTITY",
    "WANDB_MODE",
    "MLFLOW_TRACKING_URI",
    "LAUNCHER_PREEMPTION",
    "LAUNCHER_METADATA_ENDPOINT",
    "LAUNCHER_DEBUG",
)
# They name files or services of this machine.
_LOCAL_SECRETS = frozenset(
    {
        "AWS_SHARED_CREDENTIALS_FILE",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    }
)


def settings_for(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables of this machine that a run elsewhere is given as they are."""
    found = {name: environment[name] for name in _SETTINGS if environment.get(name)}
    if python := environment.get(NODE_PYTHON):
        found["LAUNCHER_RUNTIME_PYTHON"] = python
    return found


def secrets_for(config: TrainingConfig, environment: Mapping[str, str]) -> tuple[str, ...]:
    """Names of the secrets a run elsewhere is given: those its recipe names, and those of its storage that are set here."""
    named = set(config.launch.secrets)
    stay = _LOCAL_SECRETS | unsent(environment)
    wanted = [name for name in handed_secrets(config) if name in named or (environment.get(name) and name not in stay)]
    return tuple(GOOGLE_KEY if name == GOOGLE_FILE else name for name in wanted)
