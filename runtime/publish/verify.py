"""Proof that a trained model can be used: its files are what was sealed, they load, and the model writes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime.config.problem import ExitCode, Problem, UserError
from runtime.publish.trained import load_trained, this_device

TOKENS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What was checked: bytes on disk, tensors read, and the text the model wrote."""

    path: Path
    tensors: int
    parameters: int
    text: str


def verify_model(config: Any, folder: Path) -> Proof:
    """Load the sealed model in `folder` and have it write a few tokens. Raises UserError (exit 7) when anything about it is wrong."""
    import torch

    try:
        tensors, parameters = _count_tensors(folder)
        model, tokenizer = load_trained(config, folder, device=this_device())
        start = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
        ids = tokenizer("The", return_tensors="pt")["input_ids"]
        if ids.numel() == 0:
            ids = torch.tensor([[start or 0]])
        ids = ids.to(model.device)
        with torch.inference_mode():
            finite = bool(torch.isfinite(model(input_ids=ids).logits).all())
            written = model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=TOKENS,
                do_sample=False,
                pad_token_id=tokenizer.pad_token_id,
            )
    except UserError as error:
        raise UserError(error.problems, exit_code=ExitCode.NOT_VERIFIED) from error
    except Exception as error:
        # Whatever keeps a published model from loading is exactly what this is here to find.
        raise _not_verified(folder, f"it does not load or run: {type(error).__name__}: {(str(error).splitlines() or [''])[0]}") from error
    if not finite:
        raise _not_verified(folder, "its predictions are not finite numbers")
    if written.shape[1] <= ids.shape[1]:
        raise _not_verified(folder, "it writes nothing")
    return Proof(path=folder, tensors=tensors, parameters=parameters, text=tokenizer.decode(written[0], skip_special_tokens=True))


def _count_tensors(folder: Path) -> tuple[int, int]:
    from safetensors import safe_open

    tensors = parameters = 0
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise _not_verified(folder, "it holds no safetensors file")
    for file in files:
        with safe_open(file, framework="pt") as opened:
            for name in opened.keys():  # noqa: SIM118 - not a dict
                size = 1
                for extent in opened.get_slice(name).get_shape():
                    size *= extent
                tensors, parameters = tensors + 1, parameters + size
    return tensors, parameters


def _not_verified(folder: Path, why: str) -> UserError:
    return UserError(
        Problem(code="not-verified", place=str(folder), message=f"this model is not verified: {why}", fix="train or merge again"),
        exit_code=ExitCode.NOT_VERIFIED,
    )
