"""Which secrets a recipe needs, by name. No value is ever looked at."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from runtime.config.problem import ExitCode, Problem, UserError
from runtime.config.storage import SECRETS, parse_address

if TYPE_CHECKING:
    from runtime.config.schema import TrainingConfig

HUB_TOKEN = "HF_TOKEN"  # noqa: S105 - the name of a variable

REGISTRY_LOGIN = ("SKYPILOT_DOCKER_SERVER", "SKYPILOT_DOCKER_USERNAME", "SKYPILOT_DOCKER_PASSWORD")
"""With what SkyPilot logs in to a registry of images where the run is (0.14, sky/skylet/constants.py)."""


def writes_to_hub(config: TrainingConfig) -> str | None:
    """The option that has this recipe write to the Hugging Face Hub; None when it does not."""
    return next((name for name in ("hub_model_id", "push_dataset_to_hub") if getattr(config, name)), None)


def wanted_secrets(config: TrainingConfig) -> tuple[str, ...]:
    """The variables the training gets: those of `launch.secrets`, and HF_TOKEN for a recipe that writes to the Hub, which asks for it by that."""
    named = tuple(dict.fromkeys(config.launch.secrets))
    return (*named, HUB_TOKEN) if writes_to_hub(config) and HUB_TOKEN not in named else named


def handed_secrets(config: TrainingConfig) -> tuple[str, ...]:
    """The variables a process of this run is handed where they are set: `wanted_secrets`, and those by which `launch.storage` is reached."""
    wanted = wanted_secrets(config)
    kind = parse_address(config.launch.storage).kind if config.launch.storage is not None else "directory"
    return (*wanted, *(name for name in SECRETS[kind] if name not in wanted))


def has_hub_token(environment: Mapping[str, str]) -> bool:
    """Whether this machine has a token of the Hub: in the environment, or stored by `hf auth login`."""
    return bool(environment.get(HUB_TOKEN)) or _stored(environment).is_file()


def check_hub_token(config: TrainingConfig, environment: Mapping[str, str]) -> None:
    """Raise UserError (exit 8) when the recipe writes to the Hub and this machine has no token for it. Whether it may write is asked when the run starts."""
    option = writes_to_hub(config)
    if option is None or has_hub_token(environment):
        return
    raise UserError(
        Problem(
            code="missing-secret",
            path=option,
            message=f"{option} needs a token of the Hugging Face Hub, and there is none here",
            fix=f"export {HUB_TOKEN}=… in this shell, or store one with `hf auth login`",
        ),
        exit_code=ExitCode.REMOTE_REFUSED,
    )


def _stored(environment: Mapping[str, str]) -> Path:
    """Where the Hub's client keeps its token, as documented for HF_TOKEN_PATH, HF_HOME and XDG_CACHE_HOME (huggingface_hub 2.4)."""
    if path := environment.get("HF_TOKEN_PATH"):
        return Path(path).expanduser()
    cache = Path(environment.get("XDG_CACHE_HOME") or Path(environment.get("HOME") or "~") / ".cache")
    return (Path(environment.get("HF_HOME") or cache / "huggingface") / "token").expanduser()
