"""What happens after training: merge, verify, send, and say so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from runtime.checkpoint.manifest import read_manifest
from runtime.events import EventLog
from runtime.publish.delivery import deliver
from runtime.publish.merge import merge
from runtime.publish.trained import is_adapter, require_sealed
from runtime.publish.verify import verify_model
from runtime.training.folder import RunFolder


def publish(config: Any) -> Path:
    """The folder of the model that is ready to use: merged if the recipe says so and there is an adapter, verified if it says so, and in `launch.storage`.

    Raises UserError with exit code 7 when the trained model turns out not to be usable, or its store does not take it.
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
    return ready
