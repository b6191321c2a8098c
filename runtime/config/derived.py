"""Options that follow from others when nothing is said about them."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

from runtime.config.document import Document
from runtime.config.plugins import listed

# A tracker is used when its project is named: (the switch, what turns it on).
_SWITCHES = MappingProxyType(
    {
        "use_wandb": ("wandb_project",),
        "use_mlflow": ("mlflow_experiment_name", "mlflow_tracking_uri"),
        "use_comet": ("comet_project_name", "comet_experiment_key"),
        "use_trackio": ("trackio_project_name",),
        "use_swanlab": ("swanlab_project",),
    }
)


def complete(document: Document, values: dict[str, Any]) -> None:
    """Fill in what follows from other options. A filled-in option stands where the one it follows from stands."""
    for switch, causes in _SWITCHES.items():
        cause = next((name for name in causes if values.get(name)), None)
        if cause is not None and switch not in document.values:
            values[switch] = True
            document.positions[(switch,)] = document.position((cause,))
    entries = values.get("plugins")
    for plugin in listed(entries if isinstance(entries, list) else ()):
        for name, value in plugin.defaults:
            if name not in document.values:
                values[name] = value
                document.positions[(name,)] = document.position(("plugins",))
