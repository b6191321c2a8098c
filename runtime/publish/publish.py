"""What happens after training: merge, verify, send, push, and say so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from runtime.checkpoint.manifest import read_manifest
from runtime.config.problem import UserError
from runtime.events import EventLog
from runtime.publish.delivery import deliver
from runtime.publish.hub.publishing import push_model
from runtime.publish.merge import merge
from runtime.publish.trained import is_adapter, require_sealed
from runtime.publish.verify import verify_model
from runtime.training.folder import RunFolder


def publish(config: Any) -> Path:
    """The folder of the model that is ready to use: merged if the recipe says so and there is an adapter, verified if it says so, in `launch.storage`, and on the Hub.

    Raises UserError with exit code 7 when the trained model turns out not to be usable, or its store or the Hub does not take it.
    """
    folder = RunFolder(path=Path(config.output_dir).expanduser())
    require_sealed(folder.final)
    events, step = EventLog(folder.events), read_manifest(folder.final).step
    ready = folder.final
    if config.launch.publish.merge and is_adapter(folder.final):
        events.append("stage", step, name="merge")
        ready = merge(config, folder.final)
        events.append("merged", step, path=str(ready))
    if config.launch.publish.verify:
        events.append("stage", step, name="verify")
        proof = verify_model(config, ready)
        events.append("verified", step, path=str(ready), tensors=proof.tensors, parameters=proof.parameters)
    if config.launch.storage is not None:
        events.append("stage", step, name="upload")
        url = deliver(config, [folder.final] if ready == folder.final else [folder.final, ready], events=events)
        events.append("published", step, url=url)
    try:
        push_model(config, ready, events=events)
    except UserError as error:
        # The run's supervisor learns from it what its record is to say.
        events.append("failed", step, message="; ".join(problem.message for problem in error.problems), fix=error.problems[0].fix)
        raise
    return ready
