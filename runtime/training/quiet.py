"""Keeping the libraries' own chatter out of a run's log."""

from __future__ import annotations

import logging
import os
import warnings


def quiet_libraries(*, debug: bool) -> None:
    """Silence progress bars, banners and advice of the training libraries; their errors stay. `debug` leaves everything on."""
    defaults = {
        "TOKENIZERS_PARALLELISM": "true",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "BITSANDBYTES_NOWELCOME": "1",
        # torch's profiler talks about its own starting and stopping.
        "KINETO_LOG_LEVEL": "5",
        # Growing segments keep batches of changing length from fragmenting GPU memory.
        "PYTORCH_ALLOC_CONF": "expandable_segments:True",
    }
    for name, value in defaults.items():
        os.environ.setdefault(name, value)
    if debug:
        return
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    # Where a connection ends, torch shows the addresses of its own code by the page.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    warnings.filterwarnings("ignore")
    for name in ("torch", "transformers", "accelerate", "datasets", "peft", "bitsandbytes", "huggingface_hub", "httpx"):
        logging.getLogger(name).setLevel(logging.ERROR)
    import datasets
    from transformers.utils import logging as transformers_logging

    datasets.disable_progress_bars()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
