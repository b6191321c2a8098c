"""Options that follow from others when nothing is said about them."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

from runtime.config.document import Document
from runtime.config.plugins import listed

_LOADERS = MappingProxyType({"jsonl": "json", "txt": "text", "csv": "csv", "parquet": "parquet", "arrow": "arrow"})

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
    for sources in (values.get("datasets"), values.get("test_datasets")):
        for source in sources if isinstance(sources, list) else ():
            # Files on their own are read by a loader, which is the dataset's path: by the format that is said, else by their ending.
            if isinstance(source, dict) and source.get("data_files") and "path" not in source:
                source["path"] = _loader_of(source.get("ds_type"), source["data_files"])
    entries = values.get("plugins")
    for plugin in listed(entries if isinstance(entries, list) else ()):
        for name, value in plugin.defaults:
            if name not in document.values:
                values[name] = value
                document.positions[(name,)] = document.position(("plugins",))


def _loader_of(said: Any, files: Any) -> str:
    """The loader of files that no `path` stands beside."""
    if isinstance(said, str) and said:
        return said
    first = files[0] if isinstance(files, list) else files
    return _LOADERS.get(str(first).rpartition(".")[2], "json")
