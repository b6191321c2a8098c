"""What recipes of the families need: memory of one GPU for every size and method, and the smallest GPU that has it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from launcher.estimate.card import OnCard, verdict_of
from launcher.estimate.estimate import estimate
from launcher.estimate.gpus import Gpu, GpuCount, gpu_kinds
from launcher.estimate.hardware import cards
from launcher.estimate.model_source import find_model
from launcher.estimate.new_recipe import new_recipe
from launcher.estimate.rows import UNKNOWN
from launcher.recipe.catalogue import Catalogue, Order
from launcher.recipe.dataset import describe
from runtime.config.problem import UserError


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """GiB that one GPU must hold for a recipe, and the smallest kind it fits on; None where the model's shape is not known here, or no kind is large enough."""

    family: str
    size: str
    method: str
    model: str
    per_gpu_gib: float | None
    smallest: Gpu | None

    def to_json(self) -> dict[str, Any]:
        """One method of one size as JSON."""
        return {
            "model": self.model,
            "per_gpu_gib": None if self.per_gpu_gib is None else round(self.per_gpu_gib, 1),
            "fits_one_gpu": None if self.per_gpu_gib is None else self.smallest is not None,
            "smallest_gpu": self.smallest.name if self.smallest is not None else None,
        }


def needs(catalogue: Catalogue, families: tuple[str, ...]) -> Iterator[Need]:
    """Every size and method of `families` as `launcher new` writes them without a GPU in mind. Raises UserError where one is no valid recipe."""
    for family in families:
        for size, facts in catalogue.family(family).sizes.items():
            for method in facts.methods:
                if method in catalogue.methods:
                    yield _need(catalogue, family, size, method)


def _need(catalogue: Catalogue, family: str, size: str, method: str) -> Need:
    text_only = method == "pretrain"
    order = Order(
        family=family,
        size=size,
        method=method,
        dataset=describe(None, text_only=text_only),
        dataset_given=False,
        schema="recipe.schema.json",
        target={},
        variables={},
    )
    model = catalogue.family(family).sizes[size].model_for(method)
    unknown = Need(family=family, size=size, method=method, model=model, per_gpu_gib=None, smallest=None)
    try:
        config = new_recipe(catalogue, order).config
    except UserError as error:  # a template of the user's own may need variables that only `launcher new` is given
        if any(problem.code != "missing" for problem in error.problems):
            raise
        return unknown
    try:
        shape = find_model(config.base_model, changes=config.overrides_of_model_config)
    except UserError:
        return unknown
    kinds = sorted((kind for kind in gpu_kinds() if kind.vendor == "NVIDIA" and kind.bf16_tflops), key=lambda kind: kind.capacity_gib)
    held = estimate(config, shape, cards(GpuCount(gpu=kinds[-1], count=1)), UNKNOWN).memory.held
    needed = OnCard(value=held.value, low=held.low, high=held.high, context_gib=0.0)
    fitting = (kind for kind in kinds if verdict_of(needed, kind.capacity_gib) != "does-not-fit")
    return Need(family=family, size=size, method=method, model=model, per_gpu_gib=held.value, smallest=next(fitting, None))
