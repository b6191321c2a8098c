"""The storage without which a run on rented machines makes no sense."""

from __future__ import annotations

from runtime.config.problem import Problem, UserError
from runtime.config.storage import parse_address


def check_storage(storage: str | None) -> None:
    """Raise UserError when what a run on a rented machine leaves would be lost: no storage, a folder of this computer, or the Hub, which is never the only
    copy of a running training."""
    kind = parse_address(storage).kind if storage is not None else None
    if kind in (None, "directory", "hf"):
        why = {
            None: "",
            "directory": f"; {storage} is a folder of this computer",
            "hf": f"; {storage} takes too few commits an hour to be one",
        }
        raise UserError(
            Problem(
                code="missing" if storage is None else "conflict",
                path="launch.storage",
                message="a rented machine is given back when the run ends, so checkpoints and the model need an object store" + why[kind],
                fix="add --storage s3://BUCKET/PREFIX (or gs://, az://)",
            )
        )
