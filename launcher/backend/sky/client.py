"""SkyPilot's client: imported late, kept quiet, its refusals translated, and shown no more of this process's environment than is its business."""

from __future__ import annotations

import io
import logging
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from typing import Any

from launcher.backend.sky.refusals import plain, refused
from runtime.config.problem import ExitCode, Problem, UserError

# What training needs and SkyPilot never reads. The API server that its client may start lives on with the environment it was started in.
_OF_TRAINING = (
    "HF_TOKEN",
    "HUGGING_FACE_HUB_TOKEN",
    "WANDB_API_KEY",
    "COMET_API_KEY",
    "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_TRACKING_TOKEN",
    "SWANLAB_API_KEY",
    "AZURE_STORAGE_CONNECTION_STRING",
    "AZURE_STORAGE_KEY",
    "AZURE_STORAGE_ACCOUNT_KEY",
    "AZURE_STORAGE_SAS_TOKEN",
    # SkyPilot logs in to Azure by `az login` alone, and yet its client sends the first of these with every request.
    "AZURE_CLIENT_SECRET",
    "AZURE_CLIENT_CERTIFICATE_PASSWORD",
    "AZURE_PASSWORD",
)
# SkyPilot's client sends these with every request, and its server keeps requests. They are for Amazon, unless the store is another one's.
_OF_AMAZON = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
_ELSEWHERE = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3")


def client() -> Any:
    """SkyPilot's client. Raises UserError (exit 8) when it is not installed."""
    try:
        import sky
    except ImportError as error:
        raise missing() from error
    logging.getLogger("sky").setLevel(logging.ERROR)
    return sky


@contextmanager
def speaking(doing: str, *, hidden: Collection[str] = ()) -> Iterator[None]:
    """Translates whatever SkyPilot raises inside the block, and keeps what it prints off stdout, which belongs to results. The variables `hidden`, and
    those that are never its business, are not in the environment meanwhile."""
    with _without(unshown(os.environ, hidden)), redirect_stdout(io.StringIO()):
        try:
            yield
        except UserError:
            raise
        # SkyPilot ends the process on some refusals; all of them are answers to the user's question here.
        except (Exception, SystemExit) as error:
            raise refused(error, doing=doing) from error


def unshown(environment: Mapping[str, str], hidden: Collection[str] = ()) -> list[str]:
    """Names of the variables in `environment` that SkyPilot is not to see: `hidden` ones it has no use for itself, and those of training."""
    amazon = any(environment.get(name) for name in _ELSEWHERE)
    ours = {*_OF_TRAINING, *(_OF_AMAZON if amazon else ())}
    ours |= {name for name in hidden if not name.startswith(("SKYPILOT_", "AWS_", "AZURE_", "GOOGLE_"))}
    return sorted(name for name in ours if name in environment)


def missing() -> UserError:
    """SkyPilot is not there."""
    return UserError(
        Problem(
            code="not-installed",
            message="rented machines are SkyPilot's doing, and SkyPilot is not installed beside the launcher",
            fix="pip install 'finetune-launcher[cloud]', in an environment without the training stack: the two want different versions of the same packages",
        ),
        exit_code=ExitCode.REMOTE_REFUSED,
    )


class Lines(io.TextIOBase):
    """A stream that hands on whole lines without colours and spinners."""

    def __init__(self, report: Callable[[str], None]) -> None:
        self._report, self._rest = report, ""

    def write(self, text: str) -> int:
        """Take some text; its last, unfinished line waits for its end."""
        self._rest += text.replace("\r", "\n")
        *lines, self._rest = self._rest.split("\n")
        for line in lines:
            if words := plain(line).strip():
                self._report(words)
        return len(text)


@contextmanager
def _without(names: Collection[str]) -> Iterator[None]:
    held = {name: os.environ.pop(name) for name in names}
    try:
        yield
    finally:
        os.environ.update(held)
