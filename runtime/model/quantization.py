"""How the frozen base of a run is stored in fewer bits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runtime.config.problem import Problem, UserError
from runtime.model.precision import Precision

if TYPE_CHECKING:
    from transformers import BitsAndBytesConfig
    from transformers.utils.quantization_config import QuantizationConfigMixin


def quantization_of(config: Any, precision: Precision) -> BitsAndBytesConfig | None:
    """The bitsandbytes configuration a config asks for, None for full-size weights.

    4-bit is nf4 with double quantization, computed in the format of the weights; `bnb_config_kwargs` overrides single settings.
    Raises UserError when bitsandbytes is missing or an override is unknown.
    """
    if not (config.load_in_4bit or config.load_in_8bit):
        return None
    _require_bitsandbytes()
    import torch
    from transformers import BitsAndBytesConfig

    settings: dict[str, Any]
    if config.load_in_4bit:
        compute = getattr(torch, precision.weights)
        settings = {
            "load_in_4bit": True,
            "bnb_4bit_quant_type": "nf4",
            "bnb_4bit_use_double_quant": True,
            "bnb_4bit_compute_dtype": compute,
            # Sharding frameworks flatten parameters of one dtype: 4-bit data travels as the compute dtype there.
            "bnb_4bit_quant_storage": compute if config.fsdp or config.fsdp_config else torch.uint8,
        }
    else:
        settings = {"load_in_8bit": True}
    settings |= config.bnb_config_kwargs or {}
    try:
        return BitsAndBytesConfig(**settings)
    except (TypeError, ValueError) as error:
        raise UserError(
            Problem(
                code="wrong-type",
                path="bnb_config_kwargs",
                message=str(error),
                fix="see transformers.BitsAndBytesConfig for the settings it takes",
            )
        ) from error


def stored_quantization_of(config: Any) -> QuantizationConfigMixin | None:
    """How to read a base that is stored in few bits: `model_quantization_config` with its arguments, None when config.json alone decides.

    `dequantize: true`, which both classes know, gives full-size weights that can be trained and merged. Raises UserError for an unknown argument.
    """
    name = config.model_quantization_config
    if name is None:
        return None
    import inspect

    import transformers

    kind: type[QuantizationConfigMixin] = getattr(transformers, name)
    given = dict(config.model_quantization_config_kwargs or {})
    # The classes take any keyword and forget those they do not know.
    known = [parameter for parameter in inspect.signature(kind.__init__).parameters if parameter not in ("self", "kwargs")]
    unknown = sorted(set(given) - set(known))
    try:
        if not unknown:
            return kind(**given)
        reason = f"{name} has no argument {', '.join(unknown)}"
    except (TypeError, ValueError, AttributeError) as error:
        reason = str(error)
    raise UserError(
        Problem(
            code="wrong-type",
            path="model_quantization_config_kwargs",
            message=reason,
            fix=f"it takes {', '.join(known)}",
        )
    )


def _require_bitsandbytes() -> None:
    from importlib.util import find_spec

    if find_spec("bitsandbytes") is None:
        raise UserError(
            Problem(
                code="unsupported",
                path="load_in_4bit",
                message="quantized loading needs the package bitsandbytes, which is not installed",
                fix="pip install bitsandbytes",
            )
        )
