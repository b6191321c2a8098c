"""What a template knows about the machine it is rendered for."""

from __future__ import annotations

from typing import Any

from runtime.config.problem import Problem, UserError


def read_target(gpus: str | None) -> dict[str, Any]:
    """`A100-80GB:8` as `{name: A100-80GB, count: 8}`; nothing for None, so that a template that asks for a GPU says so. Raises UserError."""
    if gpus is None:
        return {}
    name, colon, count = gpus.strip().partition(":")
    if not name or (colon and not (count.isdigit() and int(count) > 0)):
        raise UserError(
            Problem(code="usage", message=f"'{gpus}' is no kind and count of GPUs", fix="Write `--gpus A100-80GB:8`.", place="--gpus")
        )
    return {"name": name, "count": int(count) if colon else 1}
