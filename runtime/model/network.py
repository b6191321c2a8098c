"""Whether the Hub can be reached: without it the libraries retry for a minute before they look into their cache."""

from __future__ import annotations

import os
import socket
import sys
from typing import Any
from urllib.parse import urlsplit

from runtime.model.load import is_local

WAIT_S = 5.0


def go_offline_if_alone(config: Any) -> bool:
    """Whether the Hub libraries of this process were told to use their cache alone: the recipe names the Hub, and the Hub cannot be reached.

    Must run before huggingface_hub is imported, which reads the setting once. Behind a proxy nothing is tried, and a recipe that writes to the Hub
    goes on asking it.
    """
    if config.hub_model_id or config.push_dataset_to_hub:
        return False
    if "HF_HUB_OFFLINE" in os.environ or "huggingface_hub" in sys.modules or any(name.lower().endswith("_proxy") for name in os.environ):
        return False
    names = [config.base_model, config.tokenizer_config, *(getattr(dataset, "path", None) for dataset in config.datasets or ())]
    if all(name is None or is_local(str(name)) for name in names):
        return False
    address = urlsplit(os.environ.get("HF_ENDPOINT", "https://huggingface.co"))
    try:
        socket.create_connection(
            (address.hostname or "", address.port or (80 if address.scheme == "http" else 443)), timeout=WAIT_S
        ).close()
    except OSError:
        os.environ["HF_HUB_OFFLINE"] = "1"
        return True
    return False
