"""What `auto` comes to on a machine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from runtime.config.environment.machine import Machine
from runtime.config.schema import TrainingConfig
from runtime.config.wishes import attention_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """`option: auto` is `value` there, because of `why`."""

    option: str
    value: bool
    why: str

    def __str__(self) -> str:
        return f"{self.option}: auto is {str(self.value).lower()}, as {self.why}"


def resolve(config: TrainingConfig, machine: Machine) -> Iterator[Resolved]:
    """The value of each option that is `auto`, written or by default. GPUs of unknown age are taken as new ones."""
    has_16_bit = machine.gpu is not None and not machine.lacks((8, 0))
    if config.bf16 == "auto" and not (config.fp16 is True or config.bfloat16 or config.float16 or config.float32):
        if machine.gpu is None:
            yield Resolved(option="bf16", value=False, why="there is no GPU: 32 bit is used")
        else:
            yield Resolved(
                option="bf16", value=has_16_bit, why=f"{machine.gpu} has bf16" if has_16_bit else f"{machine.gpu} lacks bf16: fp16 is used"
            )
    if config.fp16 == "auto":
        yield Resolved(
            option="fp16",
            value=machine.gpu is not None and not has_16_bit,
            why="there is no GPU" if machine.gpu is None else f"{machine.gpu} {'has' if has_16_bit else 'lacks'} bf16",
        )
    if config.tf32 == "auto":
        yield Resolved(
            option="tf32", value=has_16_bit, why=f"{machine.gpu or 'the processor'} {'has' if has_16_bit else 'lacks'} TF32 units"
        )
    if config.torch_compile == "auto":
        yield Resolved(option="torch_compile", value=True, why="this version of torch compiles models")
    if config.batch_flattening == "auto":
        flash = str(attention_of(config)[1] or "").startswith("flash")
        why = "rows are packed" if config.sample_packing else f"the attention is {'flash' if flash else 'not flash'}"
        yield Resolved(option="batch_flattening", value=flash and not config.sample_packing, why=why)
