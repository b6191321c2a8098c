"""Starting a Comet experiment with settings of its own, before the Trainer would start one without."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from runtime.config.problem import Problem, UserError


def start_comet(config: Any) -> None:
    """Start the experiment with `comet_experiment_config`, for the Trainer to take up; nothing without those settings, or without Comet.

    Raises UserError when the package is missing or does not know a setting.
    """
    settings = config.comet_experiment_config
    if not config.use_comet or not settings:
        return
    if find_spec("comet_ml") is None:
        raise UserError(
            Problem(code="unsupported", path="use_comet", message="the package comet_ml is not installed here", fix="pip install comet_ml")
        )
    import comet_ml

    try:
        wanted = comet_ml.ExperimentConfig(**settings)
    except TypeError as error:
        raise UserError(
            Problem(
                code="unknown-key",
                path="comet_experiment_config",
                message=f"Comet refuses these settings: {str(error).rpartition(') ')[2]}",
                fix="they are the arguments of comet_ml.ExperimentConfig, such as `tags` and `log_code`",
            )
        ) from error
    comet_ml.start(experiment_config=wanted)
