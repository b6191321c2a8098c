"""What an option means, in words, from the schema and the table of effects."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from pydantic.fields import FieldInfo

from runtime.config import choices, extends
from runtime.config.effects import Effect, effect_of
from runtime.config.problem import Problem, UserError
from runtime.config.renames import ALIASES, RENAMED
from runtime.config.schema import TrainingConfig
from runtime.config.shape import Model, in_words, options, section_of
from runtime.config.spelling import nearest

_LISTS = {
    "optimizer": choices.optimizers,
    "lr_scheduler": choices.schedulers,
    "attn_implementation": choices.attention,
    "adapter": choices.adapters,
    "datasets[].type": choices.dataset_types,
    "chat_template": choices.chat_templates,
    "datasets[].chat_template": choices.chat_templates,
}
_BOUNDS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below", "min_length": "length at least"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """One option. `values` are the names it takes where those are a list; `keys` the options inside it."""

    path: str
    type: str
    default: Any
    required: bool
    description: str
    effect: str
    supported: bool
    values: tuple[str, ...] = ()
    values_not_built: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    also_called: tuple[str, ...] = ()

    @property
    def summary(self) -> str:
        """The first sentence of the description."""
        return re.split(r"(?<=[.!?;:])\s", self.description, maxsplit=1)[0]

    def as_json(self) -> dict[str, Any]:
        """The explanation as JSON."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in ((name, getattr(self, name)) for name in self.__slots__)
        }

    def lines(self) -> list[str]:
        """The explanation as lines of text."""
        found = [self.description, "", f"type      {self.type}"]
        found.append("default   none: it must be given" if self.required else f"default   {_shown(self.default)}")
        found.append(f"effect    {self.effect}")
        for title, names in (("values", self.values), ("not yet", self.values_not_built), ("keys", self.keys), ("also", self.also_called)):
            if names:
                found.append(f"{title.ljust(9)} {', '.join(names)}")
        return found


def explanations(top: type[TrainingConfig] = TrainingConfig) -> list[Explanation]:
    """Every option, in the order of the schema; `top` is the model of a recipe that plugins extend."""
    return [_explained(path, info, model) for path, info, model in options(top)]


def explanation(name: str, top: type[TrainingConfig] = TrainingConfig) -> Explanation:
    """The option called `name`: `lora_r`, `datasets[].type`, `datasets[0].type`, `datasets.type`, or an old name. Raises UserError when there is none."""
    wanted = re.sub(r"\[\d*\]", "", name)
    wanted = RENAMED.get(wanted) or ALIASES.get(wanted) or wanted
    known = {path.replace("[]", ""): (path, info, model) for path, info, model in options(top)}
    if wanted == extends.KEY:
        return Explanation(
            path=wanted, type="text", default=None, required=False, description=extends.DESCRIPTION, effect=extends.EFFECT, supported=True
        )
    if wanted not in known:
        last = [path for path in known if path.rpartition(".")[2] == wanted]
        suggestion = nearest(wanted, known) or (known[last[0]][0] if last else None)
        fix = f"did you mean '{suggestion}'?" if suggestion else "`launcher explain` lists all options."
        raise UserError(Problem(code="unknown-key", message=f"there is no option '{name}'", fix=fix, suggestion=suggestion))
    return _explained(*known[wanted])


def _explained(path: str, info: FieldInfo, model: Model) -> Explanation:
    last = path.rpartition(".")[2]
    effect = _effect(path)
    section = section_of(model, last)
    named = _LISTS.get(path.replace("test_datasets", "datasets"))
    listed = named() if named is not None else None
    bounds = [f"{_BOUNDS[name]} {value}" for item in info.metadata for name, value in _constraints(item)]
    return Explanation(
        path=path,
        type=", ".join([in_words(info.annotation), *bounds]),
        default=None if info.is_required() else info.get_default(call_default_factory=True) if section is None else None,
        required=info.is_required(),
        description=info.description or "",
        effect=str(effect),
        supported=effect.kind not in ("unsupported", "refused"),
        values=tuple(sorted(listed.built)) if listed else (),
        values_not_built=tuple(sorted(listed.known)) if listed else (),
        keys=tuple(section.model_fields) if section is not None else (),
        also_called=tuple(old for old, new in (*RENAMED.items(), *ALIASES.items()) if new == path),
    )


def _effect(path: str) -> Effect:
    if re.split(r"[.\[]", path, maxsplit=1)[0] in TrainingConfig.model_fields:
        return effect_of(path)
    return Effect(kind="implemented", where="a plugin of the recipe")


def _constraints(item: Any) -> list[tuple[str, Any]]:
    return [(name, getattr(item, name)) for name in _BOUNDS if getattr(item, name, None) is not None]


def _shown(value: Any) -> str:
    return "unset" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
