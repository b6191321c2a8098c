"""Loading a trained model back from its run folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime.checkpoint.manifest import is_sealed, read_manifest, verify
from runtime.config.problem import ExitCode, Problem, UserError
from runtime.model.load import load_model
from runtime.model.origin import FILE, check_origin
from runtime.model.precision import Format, Precision, machine_precision

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def require_sealed(folder: Path) -> None:
    """Nothing, when `folder` is a sealed model whose every byte is as it was sealed. Raises UserError (exit 7) otherwise."""
    if not folder.is_dir():
        raise UserError(
            Problem(
                code="missing-file",
                place=str(folder),
                message="there is no trained model here",
                fix="train first: `python -m runtime train CONFIG`",
            ),
            exit_code=ExitCode.NOT_VERIFIED,
        )
    broken = [problem for problem in verify(folder, read_manifest(folder)) if problem.code != "extra-file"]
    if broken:
        raise UserError(broken, exit_code=ExitCode.NOT_VERIFIED)


def is_adapter(folder: Path) -> bool:
    """Whether the model in `folder` is an adapter, which needs its base."""
    return (folder / "adapter_config.json").is_file()


def best_of(final: Path) -> Path:
    """The folder to use a trained model from: the merged one when it is sealed, else the final one."""
    merged = final / "merged"
    return merged if is_sealed(merged) else final


def load_trained_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer the model in `folder` was trained with."""
    from transformers import AutoTokenizer

    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    return tokenizer


def load_base(config: Any, folder: Path, tokenizer: PreTrainedTokenizerBase, *, device: str) -> PreTrainedModel:
    """The base the adapter in `folder` was trained over, in full size: a quantized base cannot take an adapter without losing digits."""
    precision = _origin_precision(folder) or machine_precision(config)
    model = load_model(config, tokenizer, precision=precision, device=device, quantize=False, attention="sdpa")
    check_origin(model, folder)
    return model


def load_trained(config: Any, folder: Path, *, device: str) -> tuple[Any, PreTrainedTokenizerBase]:
    """The trained model in `folder`, an adapter over its base included, and its tokenizer. Raises UserError when a file is not what was sealed."""
    import torch
    from transformers import AutoModelForCausalLM

    require_sealed(folder)
    tokenizer = load_trained_tokenizer(folder)
    if is_adapter(folder):
        from peft import PeftModel

        model: Any = PeftModel.from_pretrained(load_base(config, folder, tokenizer, device=device), folder, local_files_only=True)
    else:
        dtype = getattr(torch, machine_precision(config).weights)
        model = AutoModelForCausalLM.from_pretrained(
            folder, dtype=dtype, attn_implementation="sdpa", local_files_only=True, trust_remote_code=bool(config.trust_remote_code)
        )
        model = model.to(device)
    model.eval()
    return model, tokenizer


def this_device() -> str:
    """`cuda:0` when there is a GPU, else `cpu`."""
    import torch

    return "cuda:0" if torch.cuda.is_available() else "cpu"


def _origin_precision(folder: Path) -> Precision | None:
    file = folder / FILE
    if not file.is_file():
        return None
    weights: Format = json.loads(file.read_text(encoding="utf-8"))["weights"]
    return Precision(weights=weights)
