"""Rules about what is pushed to the Hugging Face Hub."""

from __future__ import annotations

import re
from collections.abc import Iterator

from runtime.config.finding import Finding
from runtime.config.schema import TrainingConfig
from runtime.config.secrets import HUB_TOKEN, writes_to_hub

# The Hub's own rule for names (huggingface_hub 2.4, validate_repo_id): no dash or dot at either end, no `--` or `..`, at most 96 characters.
_NAME = re.compile(r"(?!.*(--|\.\.))[A-Za-z0-9_](?:[\w.-]{0,94}[A-Za-z0-9_])?")


def repository_names(config: TrainingConfig) -> Iterator[Finding]:
    """A repository to push to is named as the Hub names them."""
    for option in ("hub_model_id", "push_dataset_to_hub"):
        text = getattr(config, option)
        if text and "://" not in text and (text.count("/") > 1 or not all(_NAME.fullmatch(part) for part in text.split("/"))):
            yield Finding(
                code="wrong-name",
                path=(option,),
                message=f"'{option}: {text}' is no name of a repository",
                fix="Write `owner/name`: letters, digits, `-`, `_` and `.`, with none of `-` and `.` at an end.",
            )


def token_is_taken_along(config: TrainingConfig) -> Iterator[Finding]:
    """A machine elsewhere gets the token that writing to the Hub needs."""
    option, launch = writes_to_hub(config), config.launch
    if option is not None and launch.rented and HUB_TOKEN not in launch.secrets:
        yield Finding(
            code="missing-secret",
            path=("launch", "secrets"),
            involves=(option,),
            message=f"'{option}' needs a token where the run takes place, and `launch.secrets` does not name {HUB_TOKEN}",
            fix=f"Write `secrets: [{HUB_TOKEN}]` under `launch`.",
            warning=True,
        )


RULES = (repository_names, token_is_taken_along)
