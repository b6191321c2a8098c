"""Rules about packages that some options need beside the ones every run has."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from runtime.config.environment.finding import found
from runtime.config.environment.machine import Machine
from runtime.config.finding import Finding
from runtime.config.given import given
from runtime.config.schema import TrainingConfig
from runtime.config.wishes import attention_of, liger

Wish = Callable[[TrainingConfig], str | None]


def _given(name: str) -> Wish:
    return lambda config: name if given(config, name) else None


def _filled(name: str) -> Wish:
    # Trackers are also turned on by what names their project, which fills in the switch.
    return lambda config: name if getattr(config, name) else None


def _attention(name: str) -> Wish:
    def asks(config: TrainingConfig) -> str | None:
        option, chosen = attention_of(config)
        return option if chosen == name else None

    return asks


# What is asked for, and the distributions of which one must be installed; the first is the one to install. Optimizers and losses name their packages
# where they are built. Source: the integrations of transformers 5.23 and the packages' own names on PyPI, November 2026.
NEEDS: tuple[tuple[Wish, tuple[str, ...]], ...] = (
    (_given("load_in_4bit"), ("bitsandbytes",)),
    (_given("load_in_8bit"), ("bitsandbytes",)),
    (_attention("flash_attention_2"), ("flash-attn", "kernels")),
    (_attention("flash_attention_3"), ("flash-attn-3", "kernels")),
    (_attention("flash_attention_4"), ("flash-attn-4", "kernels")),
    (liger, ("liger-kernel",)),
    (_given("deepspeed"), ("deepspeed",)),
    (_given("fp8"), ("torchao",)),
    (_filled("use_wandb"), ("wandb",)),
    (_filled("use_mlflow"), ("mlflow", "mlflow-skinny")),
    (_filled("use_comet"), ("comet-ml",)),
    (_filled("use_tensorboard"), ("tensorboard", "tensorboardx")),
    (_filled("use_trackio"), ("trackio",)),
    (_filled("use_swanlab"), ("swanlab",)),
    (_given("use_ray"), ("ray",)),
    (_given("lm_eval_tasks"), ("lm-eval",)),
    (_given("tokenizer_use_mistral_common"), ("mistral-common",)),
)


def packages_installed(config: TrainingConfig, machine: Machine) -> Iterator[Finding]:
    """Every package an option needs is there, where it is known what is."""
    if machine.packages is None:
        return
    for asks, names in NEEDS:
        option = asks(config)
        if option is not None and not machine.packages.intersection(names):
            message = f"'{option}' needs the package {names[0]}, which is not installed here"
            yield found(option, message, f"pip install {names[0]}")


RULES = (packages_installed,)
