"""SwanLab, through the callback that its own package has for transformers."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime.config.problem import ExitCode, Problem, UserError

if TYPE_CHECKING:
    from transformers import TrainerCallback

FOLDER = "swanlog"
# The public tool's word for sending to the service is `cloud`; the package has come to call it `online`.
_MODES = {"cloud": "online"}
_HOSTS = {"swanlab_api_host": "SWANLAB_API_HOST", "swanlab_web_host": "SWANLAB_WEB_HOST"}


def require_swanlab(config: Any, *, environment: Mapping[str, str], home: Path) -> None:
    """Nothing, when the recipe's wish to log to SwanLab can be granted. Raises UserError without the package, or without a key where one is needed."""
    if not config.use_swanlab:
        return
    if find_spec("swanlab") is None:
        raise UserError(
            Problem(
                code="missing-package",
                path="use_swanlab",
                message="it needs the package swanlab, which is not installed",
                fix="pip install swanlab",
            )
        )
    sends = config.swanlab_mode in (None, "cloud")
    if sends and not environment.get("SWANLAB_API_KEY") and not (home / ".swanlab").is_dir():
        raise UserError(
            Problem(
                code="missing-secret",
                path="use_swanlab",
                message="SwanLab is to be sent to, and the environment variable SWANLAB_API_KEY is not set",
                fix="name SWANLAB_API_KEY under `launch.secrets` and export it, or set `swanlab_mode: offline`",
            ),
            exit_code=ExitCode.REMOTE_REFUSED,
        )


def swanlab_of(config: Any, folder: Path) -> TrainerCallback | None:
    """The callback that logs, None when the recipe does not ask for it. Whatever stays on this machine goes to `swanlog` in `folder`, the run's.

    A resumption is another experiment there, of the same name.
    """
    if not config.use_swanlab:
        return None
    os.environ.update({variable: getattr(config, option) for option, variable in _HOSTS.items() if getattr(config, option)})
    from swanlab.integration.transformers import SwanLabCallback

    callback: TrainerCallback = SwanLabCallback(
        project=config.swanlab_project,
        workspace=config.swanlab_workspace,
        experiment_name=config.swanlab_experiment_name,
        description=config.swanlab_description,
        log_dir=str(folder / FOLDER),
        mode=_MODES.get(config.swanlab_mode, config.swanlab_mode),
    )
    return callback
