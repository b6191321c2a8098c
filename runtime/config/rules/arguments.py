"""Rules about mappings that become the arguments of one function, which drops what it does not take, or fails after the model has loaded."""

from __future__ import annotations

from collections.abc import Iterator
from types import MappingProxyType

from runtime.config.finding import Finding
from runtime.config.schema import TrainingConfig
from runtime.config.spelling import nearest

# Sources: torch.utils.checkpoint.checkpoint of torch 2.11 with `every_n_layers` of transformers 5.23, and its BitsAndBytesConfig; tests compare them.
ARGUMENTS = MappingProxyType(
    {
        "gradient_checkpointing_kwargs": (
            "use_reentrant",
            "preserve_rng_state",
            "determinism_check",
            "debug",
            "early_stop",
            "every_n_layers",
        ),
        "bnb_config_kwargs": (
            "llm_int8_threshold",
            "llm_int8_skip_modules",
            "llm_int8_enable_fp32_cpu_offload",
            "llm_int8_has_fp16_weight",
            "bnb_4bit_compute_dtype",
            "bnb_4bit_quant_type",
            "bnb_4bit_use_double_quant",
            "bnb_4bit_quant_storage",
        ),
    }
)


def arguments_exist(config: TrainingConfig) -> Iterator[Finding]:
    """Every key of such a mapping is an argument there is. What is like none of them may be one of a newer version, and is only warned about."""
    for option, known in ARGUMENTS.items():
        for key in getattr(config, option) or {}:
            if key in known:
                continue
            suggestion = nearest(key, known)
            yield Finding(
                code="unknown-key",
                path=(option, key),
                message=f"unknown key '{key}' in '{option}'",
                fix=f"did you mean '{suggestion}'?" if suggestion else f"It takes {', '.join(known)}.",
                suggestion=suggestion,
                warning=suggestion is None,
            )


RULES = (arguments_exist,)
