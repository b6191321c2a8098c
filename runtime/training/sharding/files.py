"""Which tensor of a checkpoint goes into which safetensors file, and which process writes it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from runtime.config.problem import Problem, UserError

# What a writer holds in host memory at most, but for one larger tensor.
_LIMIT_BYTES = 4 * 2**30


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """One file: its name, the process that writes it, and the names of its tensors."""

    name: str
    writer: int
    tensors: tuple[str, ...]


def spread(sizes: Mapping[str, int], *, stem: str, writers: int, limit: int = _LIMIT_BYTES) -> tuple[File, ...]:
    """The files of tensors of so many bytes, in their order, for `writers` processes, which get about the same number of bytes each.

    They are named as transformers names the parts of a large model. The answer depends on nothing else, so every process finds the same one.
    """
    target = max(1, min(limit, -(-sum(sizes.values()) // writers)))
    groups: list[list[str]] = []
    held = 0
    for name, size in sizes.items():
        if not groups or held + size > target:
            groups.append([])
            held = 0
        groups[-1].append(name)
        held += size
    return tuple(
        File(name=f"{stem}-{index + 1:05d}-of-{len(groups):05d}.safetensors", writer=index % writers, tensors=tuple(names))
        for index, names in enumerate(groups)
    )


def index_name(stem: str) -> str:
    """The name of the file that tells where each tensor is."""
    return f"{stem}.safetensors.index.json"


def write_index(folder: Path, files: Iterable[File], *, stem: str, total_bytes: int) -> None:
    """Write where each tensor is, as transformers does."""
    places = {tensor: file.name for file in files for tensor in file.tensors}
    content = {"metadata": {"total_size": total_bytes}, "weight_map": dict(sorted(places.items()))}
    (folder / index_name(stem)).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def places(folder: Path, *, stem: str) -> dict[str, Path]:
    """The file of each tensor in `folder`, spread or in one file. Raises UserError when there is neither."""
    index = folder / index_name(stem)
    if index.is_file():
        found = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        return {name: folder / Path(file).name for name, file in found.items()}
    alone = folder / f"{stem}.safetensors"
    if not alone.is_file():
        raise UserError(
            Problem(
                code="missing-file",
                place=str(folder),
                message=f"this checkpoint has neither {index.name} nor {alone.name}",
                fix="use another checkpoint",
            )
        )
    from safetensors import safe_open

    with safe_open(alone, framework="pt") as opened:
        return dict.fromkeys(opened.keys(), alone)


def unfit(folder: Path, what: str, why: str) -> UserError:
    """The refusal of a checkpoint that belongs to another model or another optimizer: `what` does not fit, in a sentence without its end."""
    return UserError(
        Problem(
            code="conflict",
            path="resume_from_checkpoint",
            place=str(folder),
            message=f"{what}: {why}",
            fix="go on with the recipe it was made with, or set another output_dir",
        )
    )
