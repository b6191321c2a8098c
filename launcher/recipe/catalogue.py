"""The recipe families and methods there are, and a recipe made of one of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launcher.recipe.family import DEFAULT_SEQUENCE, Family, Tuning, read_family
from launcher.recipe.way import PLAIN, Figures, Way
from runtime.config.problem import Problem, UserError

_ENDING = ".yml.jinja"


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What `launcher new` is asked for. `dataset` holds the keys of a `datasets` entry, `target` the namespace `gpu`, empty for no GPU in particular."""

    family: str
    size: str
    method: str
    dataset: Mapping[str, Any]
    dataset_given: bool
    schema: str
    target: Mapping[str, Any]
    variables: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """Families by name and the templates that methods are, from one or more folders."""

    folders: tuple[Path, ...]
    families: Mapping[str, Family]
    methods: tuple[str, ...]

    def family(self, name: str) -> Family:
        """The family called `name`. Raises UserError with the nearest one."""
        if name not in self.families:
            raise UserError(_unknown("family", name, tuple(self.families), place="FAMILY"))
        return self.families[name]

    def tuning(self, family: str, size: str, method: str) -> Tuning:
        """Where `method` starts from at `size`. Raises UserError for a size or a method the family does not have."""
        sizes = self.family(family).sizes
        if size not in sizes:
            raise UserError(_unknown(f"size of {family}", size, tuple(sizes), place="--size"))
        if method not in sizes[size].methods:
            offered = tuple(name for name in sizes[size].methods if name in self.methods)
            raise UserError(_unknown(f"method for {family} {size}", method, offered, place="--method"))
        if method not in self.methods:
            raise UserError(_unknown("template of a method", method, self.methods, place="--method"))
        return sizes[size].methods[method]

    def render(self, order: Order, *, micro_batch: int | None = None, way: Way = PLAIN, figures: Figures | None = None) -> str:
        """The text of the recipe; `micro_batch` in place of the tuned one. `figures` are what `way` was chosen by, for the comments.

        Raises UserError for unknown names and templates that cannot be rendered.
        """
        from launcher.recipe.template import render_template

        tuning = self.tuning(order.family, order.size, order.method)
        family = self.family(order.family)
        facts = family.facts(order.size)
        micro = micro_batch or tuning.micro_batch
        gpus = int(order.target.get("count", 1)) * int(order.target.get("nodes", 1))
        numbers = tuning.model_dump() | {
            "micro_batch": micro,
            "accumulation": max(1, tuning.batch // (micro * gpus)),
            "alpha": 2 * tuning.rank if tuning.rank else None,
            "sequence_len": tuning.sequence_len or min(DEFAULT_SEQUENCE, facts["context"]),
            # States of 8 bit come in blocks with scales of their own, which cannot be cut into shards.
            "optimizer": "adamw_torch_fused" if way.sharded else tuning.optimizer,
        }
        seen: dict[str, Any] = {
            **order.variables,
            "family": {"name": order.family, "title": family.title},
            "size": facts,
            "method": order.method,
            "model": family.sizes[order.size].model_for(order.method),
            "tuning": numbers,
            "dataset": {"given": order.dataset_given, "entry": dict(order.dataset)},
            "way": way.seen(figures),
            "schema": order.schema,
        }
        name = order.method + _ENDING
        text = f'{{% extends "{name}" %}}'
        return render_template(text, file=name, variables=seen, target=order.target, folders=self.folders).rstrip("\n") + "\n"


def read_catalogue(folders: Sequence[Path]) -> Catalogue:
    """Everything in `folders`; a family or a method in an earlier one hides that of the same name in a later one. Raises UserError for broken facts."""
    families: dict[str, Path] = {}
    methods: list[str] = []
    for folder in folders:
        for file in sorted((folder / "families").glob("*.yml")):
            families.setdefault(file.stem, file)
        methods += [file.name.removesuffix(_ENDING) for file in sorted(folder.glob(f"*{_ENDING}")) if not file.name.startswith("_")]
    return Catalogue(
        folders=tuple(folders),
        families={name: read_family(path) for name, path in sorted(families.items())},
        methods=tuple(dict.fromkeys(methods)),
    )


def _unknown(what: str, name: str, known: tuple[str, ...], *, place: str) -> Problem:
    from runtime.config.spelling import nearest

    near = nearest(name, known)
    return Problem(
        code="unknown-name",
        place=place,
        message=f"there is no {what} '{name}'" + (f": did you mean '{near}'?" if near else ""),
        fix=f"One of {', '.join(known)}{'; --templates adds a folder of your own' if what == 'family' else ''}.",
        suggestion=near,
    )
