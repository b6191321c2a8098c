"""The trained model on the Hub: pushed, compared file by file, and recorded."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from runtime.checkpoint.manifest import read_manifest
from runtime.config.problem import ExitCode, UserError
from runtime.events import EventLog
from runtime.publish.hub.access import ready_to_write
from runtime.publish.hub.asking import NOTABLE
from runtime.publish.hub.contents import model_files, stale
from runtime.publish.hub.pushing import Pushed, push
from runtime.publish.hub.repository import model_repository
from runtime.training.progress import Progress

# How long the end of a run goes on trying: an hour, as for its store.
PATIENCE_S = 3600.0


def push_model(config: Any, folder: Path, *, events: EventLog, patience_s: float = PATIENCE_S) -> Pushed | None:
    """Push the sealed final or merged model in `folder` to `hub_model_id` and record it as `published`; None when the recipe names no repository.

    Raises UserError with exit code 7 when the Hub does not take it: the model stays where it is, and the same call again goes on.
    """
    repository = model_repository(config)
    if repository is None:
        return None
    manifest = read_manifest(folder)
    step = manifest.step
    events.append("stage", step, name="push")
    files = model_files(folder)

    def tell(*, message: str, attempt: int, wait_s: float) -> None:
        events.append("push_retry", step, message=message, attempt=attempt, wait_s=wait_s)
        if attempt == NOTABLE:
            Progress(speaks=True).say(f"warning: the Hub does not take what is pushed: {message}; it is asked again")

    try:
        repository = ready_to_write(repository, patience_s=patience_s)
        pushed = push(
            repository,
            files,
            message=f"{manifest.run or 'trained model'}: {'merged model' if manifest.kind == 'merged' else 'trained model'} of step {step}",
            stale=lambda there: stale(there, files),
            patience_s=patience_s,
            on_retry=tell,
        )
    except UserError as error:
        kept = [
            replace(problem, message=f"the model in {folder} is sealed, but not on the Hub: {problem.message}")
            for problem in error.problems
        ]
        raise UserError(kept, exit_code=ExitCode.NOT_VERIFIED) from None
    events.append("published", step, url=pushed.url, commit=pushed.commit, files=pushed.files, bytes=pushed.bytes)
    return pushed
