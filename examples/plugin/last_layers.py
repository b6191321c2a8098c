"""A plugin: only the last layers of a model learn, and the size of what they learn is written down."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field

from runtime.plugins import Plugin


class Options(BaseModel):
    """What the plugin adds to a recipe."""

    last_layers: int | None = Field(
        None, ge=1, description="Number of decoder layers, counted from the end, that learn. Unset: all of them."
    )
    norms_file: str | None = Field(
        None,
        description="Name of a file in `output_dir` that gets the norm of the learning weights after every step, one JSON object a line.",
    )


class LastLayers(Plugin):
    """Freezes everything below the last layers and watches the rest."""

    def __init__(self) -> None:
        self.highest = 0.0

    def get_input_args(self) -> type[BaseModel]:
        """The options."""
        return Options

    def post_model_load(self, cfg: Any, model: Any) -> None:
        """Freeze what is not to learn."""
        if cfg.last_layers is None:
            return
        learning = [id(parameter) for layer in model.model.layers[-cfg.last_layers :] for parameter in layer.parameters()]
        for parameter in model.parameters():
            parameter.requires_grad_(parameter.requires_grad and id(parameter) in learning)

    def add_callbacks_post_trainer(self, cfg: Any, trainer: Any) -> list[Any]:
        """The watcher, on the one process that writes."""
        if cfg.norms_file is None or not trainer.is_world_process_zero():
            return []
        return [self._watcher(Path(cfg.output_dir) / cfg.norms_file)]

    def state_dict(self) -> dict[str, Any]:
        """The highest norm so far, for a resumption."""
        return {"highest": self.highest}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with it."""
        self.highest = state["highest"]

    def _watcher(self, file: Path) -> Any:
        # Imported here: the module must load where recipes are only checked, without torch.
        import torch
        from transformers import TrainerCallback

        plugin = self

        class Watcher(TrainerCallback):
            def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:  # noqa: ARG002 - transformers' signature
                norms = [parameter.detach().float().norm() for parameter in model.parameters() if parameter.requires_grad]
                norm = round(torch.stack(norms).norm().item(), 6)
                plugin.highest = max(plugin.highest, norm)
                line = {"step": state.global_step, "norm": norm, "highest": plugin.highest}
                with file.open("a", encoding="utf-8") as stream:
                    stream.write(json.dumps(line) + "\n")

        return Watcher()
