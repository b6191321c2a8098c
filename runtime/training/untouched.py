"""A block of work after which a trainer and its model are what they were."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from runtime.config.problem import Problem, UserError
from runtime.training.ledger import LossLedger

if TYPE_CHECKING:
    from runtime.training.trainer import RunTrainer

_PLAIN = (bool, int, float, str, type(None))
# Larger buffers are weights of quantized layers, to which no forward pass writes.
_COPIED_BYTES = 16 * 2**20


@contextmanager
def untouched(trainer: RunTrainer, wrapped: nn.Module) -> Iterator[None]:
    """Run micro batches of `trainer` through `wrapped`, its model as it trains, without a trace.

    Gradients, the state of every random generator, buffers and plain attributes of modules (modes, caches of lengths), the ledger and its clock are put back.
    No gradient is exchanged with other processes. The optimizer is out of reach meanwhile: schedule-free ones change the weights when they are told of a
    training step. Raises UserError when the backward pass itself has changed weights: there is no way to try such a run.
    """
    model = trainer.model
    parameters = list(model.parameters())
    gradients = [parameter.grad for parameter in parameters]
    versions = [parameter._version for parameter in parameters if parameter.requires_grad]
    optimizer, ledger = trainer.optimizer, trainer.ledger
    resume_clock = ledger.pause()
    trainer.ledger = LossLedger(reduce=lambda tensor, _: tensor, memory_gib=lambda: 0.0)
    trainer.optimizer = None
    try:
        with _randomness(parameters), _modules(model), _alone(wrapped):
            yield
    finally:
        trainer.optimizer, trainer.ledger = optimizer, ledger
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        forget_compiled()
        resume_clock()
    if versions != [parameter._version for parameter in parameters if parameter.requires_grad]:
        raise UserError(
            Problem(
                code="conflict",
                path="launch.probe",
                message="the backward pass of this run changes weights by itself, so no step can be tried before training",
                fix="set `launch: {probe: false}`",
            )
        )


def forget_compiled() -> None:
    """Have what is compiled compiled again: the shapes seen so far decide how later ones are compiled, and so how they are rounded."""
    if "torch._dynamo" in sys.modules:
        torch.compiler.reset()


@contextmanager
def _randomness(parameters: list[nn.Parameter]) -> Iterator[None]:
    python, numpy = random.getstate(), np.random.get_state()
    gpus = sorted({parameter.device.index or 0 for parameter in parameters if parameter.device.type == "cuda"})
    try:
        with torch.random.fork_rng(devices=gpus):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)


@contextmanager
def _modules(model: nn.Module) -> Iterator[None]:
    kept = [(module, _plain(module), dict(module._buffers), _copies(module)) for module in model.modules()]
    try:
        yield
    finally:
        for module, plain, buffers, copies in kept:
            for name in _plain(module).keys() - plain.keys():
                del vars(module)[name]
            vars(module).update(plain)
            module._buffers = buffers
            for buffer, copy in copies:
                if not torch.equal(buffer, copy):
                    buffer.copy_(copy)


def _plain(module: nn.Module) -> dict[str, Any]:
    return {name: value for name, value in vars(module).items() if type(value) in _PLAIN}


def _copies(module: nn.Module) -> list[tuple[torch.Tensor, torch.Tensor]]:
    held = [buffer for buffer in module._buffers.values() if buffer is not None]
    return [(buffer, buffer.clone()) for buffer in held if buffer.numel() * buffer.element_size() <= _COPIED_BYTES]


@contextmanager
def _alone(wrapped: nn.Module) -> Iterator[None]:
    """Without a word to the other processes, which may have run out of memory where this one has not."""
    if not isinstance(wrapped, DistributedDataParallel):
        yield
        return
    synchronizes = wrapped.require_forward_param_sync
    wrapped.require_forward_param_sync = False
    try:
        with wrapped.no_sync():
            yield
    finally:
        wrapped.require_forward_param_sync = synchronizes
