"""What an adapter was trained over, kept beside it, so that merging puts it over the same base."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xxhash

from runtime.config.problem import ExitCode, Problem, UserError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

FILE = "base.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """A base that was initialised anew: the seed that drew it, and the checksum of its weights as drawn, in the format they were drawn in."""

    seed: int
    weights: str
    checksum: str


def origin_of(model: PreTrainedModel, config: Any) -> Origin | None:
    """The origin of a base with `reinit_weights`; None for a base that can be loaded again by its name."""
    from runtime.model.load import seed_of

    if not config.reinit_weights:
        return None
    dtype = str(next(model.parameters()).dtype).removeprefix("torch.")
    return Origin(seed=seed_of(config), weights=dtype, checksum=checksum_of(model))


def write_origin(origin: Origin | None, folder: Path) -> None:
    """Keep `origin` beside the adapter in `folder`."""
    if origin is not None:
        (folder / FILE).write_text(json.dumps(asdict(origin), indent=1) + "\n", encoding="utf-8")


def check_origin(model: PreTrainedModel, folder: Path) -> None:
    """Nothing, when `model` is the base the adapter in `folder` was trained over, as far as that was kept. Raises UserError (exit 7) otherwise."""
    file = folder / FILE
    if not file.is_file():
        return
    origin = Origin(**json.loads(file.read_text(encoding="utf-8")))
    if checksum_of(model) != origin.checksum:
        raise UserError(
            Problem(
                code="wrong-base",
                place=str(folder),
                message=f"the base drawn from seed {origin.seed} differs from the one this adapter was trained over: another version of torch or transformers draws other numbers",
                fix="use the versions the run was trained with, or train from a saved base_model instead of reinit_weights",
            ),
            exit_code=ExitCode.NOT_VERIFIED,
        )


def checksum_of(model: PreTrainedModel) -> str:
    """A checksum over every parameter's name and bytes, in a fixed order."""
    import torch

    digest = xxhash.xxh3_128()
    for name, parameter in sorted(model.named_parameters()):
        digest.update(name.encode())
        digest.update(parameter.detach().to("cpu").contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return f"xxh3_128:{digest.hexdigest()}"
