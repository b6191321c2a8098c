"""Rules about names of models and datasets: what people paste there."""

from __future__ import annotations

import re
from collections.abc import Iterator

from runtime.config.document import Path, dotted
from runtime.config.finding import Finding
from runtime.config.schema import TrainingConfig

# A page of the Hub, not a file in a repository, which has `/resolve/` or `/blob/` after the name.
_PAGE = re.compile(r"https?://(?:www\.)?(?:huggingface\.co|hf\.co)/(?:datasets/)?([\w.-]+/[\w.-]+)/?(?:tree/[\w.-]+/?)?")


def pages_are_no_names(config: TrainingConfig) -> Iterator[Finding]:
    """The address of a page on the Hub is not the name of a repository."""
    places: list[tuple[Path, str | None]] = [
        ((name,), getattr(config, name)) for name in ("base_model", "base_model_config", "tokenizer_config", "hub_model_id")
    ]
    for option, sources in (("datasets", config.datasets), ("test_datasets", config.test_datasets)):
        places += [((option, index, "path"), source.path) for index, source in enumerate(sources or ())]
    for path, text in places:
        found = _PAGE.fullmatch(text or "")
        if found is not None:
            message = f"{dotted(path)} is the address of a page; a repository is named by what follows the host"
            yield Finding(code="wrong-name", path=path, message=message, fix=f"Write `{found[1]}`.", suggestion=found[1])


def model_named(config: TrainingConfig) -> Iterator[Finding]:
    """A name is not empty."""
    for name in ("base_model", "output_dir"):
        if not str(getattr(config, name)).strip():
            fix = "Name a Hugging Face id or a folder." if name == "base_model" else "Name a folder, or leave it out for ./model-out."
            yield Finding(code="missing", path=(name,), message=f"'{name}' is empty", fix=fix)


RULES = (pages_are_no_names, model_named)
