"""The reference of all options as Markdown, from the schema, the table of effects and the old names."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

from runtime.config.explain import Explanation, explanations
from runtime.config.problem import Problem, UserError
from runtime.config.renames import ALIASES, DATASET_RENAMED, RENAMED
from runtime.config.schema import TrainingConfig
from runtime.config.section import Section
from runtime.config.shape import section_of
from runtime.config.spelling import nearest

_START = """# Options of a recipe

Written by `make docs` from the same schema that checks recipes; `launcher explain OPTION` says the same in a terminal, and `launcher schema` gives it to editors.
A recipe is a YAML mapping of these options. `base_model`, `learning_rate` and a source of rows must be given; everything else has a default.

The last column says what an option does here: the module that acts on it, the argument it becomes, why it is refused, or why it needs no effect. An option marked
**not supported yet** is known and refused when it is set; no option is accepted and then ignored. `unset` as a default means that the meaning says what happens.
"""


_SAME = "test_datasets[]."  # the options of `datasets[]` once more


def reference() -> str:
    """All options in Markdown: a chapter for each group, a table for the group and one for each section in it, and the old names at the end."""
    known = explanations()
    chapters = [(title, about, [entry for entry in known if _top(entry.path) in names]) for title, about, names in groups()]
    lines = [
        _START,
        *(f"- [{title.capitalize()}](#{title.replace(' ', '-')}): {about}" for title, about, _ in chapters),
        "- [Old names](#old-names)",
    ]
    for title, about, entries in chapters:
        lines += ["", f"## {title.capitalize()}", about]
        for home in dict.fromkeys(_home(entry.path) for entry in entries if not entry.path.startswith(_SAME)):
            lines += ["", *([f"### `{home}`", ""] if home else []), *_table([entry for entry in entries if _home(entry.path) == home])]
    return "\n".join([*lines, "", *_old_names()]) + "\n"


def groups() -> list[tuple[str, str, list[str]]]:
    """The groups of options in the order of a recipe: title, what they are about, names. The launcher's own section comes last."""
    found = []
    for base in reversed(TrainingConfig.__bases__):
        if base is not Section:
            names = [name for name in TrainingConfig.model_fields if name in inspect.get_annotations(base)]
            found.append((base.__module__.rpartition(".")[2], _about(base), names))
    grouped = {name for _, _, names in found for name in names}
    rest = [name for name in TrainingConfig.model_fields if name not in grouped]
    return [*found, ("launch", "What the recipe says beyond training: the machine, the budget, what happens after.", rest)]


def group_named(title: str) -> list[str]:
    """The names of the options in one group. Raises UserError when there is no such group."""
    known = {name: names for name, _, names in groups()}
    if title not in known:
        suggestion = nearest(title, known)
        fix = f"did you mean '{suggestion}'?" if suggestion else f"One of {', '.join(known)}."
        raise UserError(
            Problem(code="unknown-name", message=f"there is no group of options '{title}'", fix=fix, place="--group", suggestion=suggestion)
        )
    return known[title]


def _about(group: type) -> str:
    return " ".join((group.__doc__ or "").split())


def _top(path: str) -> str:
    return path.partition(".")[0].removesuffix("[]")


def _home(path: str) -> str:
    return path.rpartition(".")[0]


def _table(entries: list[Explanation]) -> Iterator[str]:
    yield "| option | type | default | meaning | effect |"
    yield "|---|---|---|---|---|"
    for entry in entries:
        name = entry.path.rpartition(".")[2]
        anchor = f'<a id="{entry.path.replace("[]", "")}"></a>'
        effect = entry.effect if entry.effect != "known, not supported here yet" else "**not supported yet**"
        yield "| " + " | ".join((f"{anchor}`{name}`", _cell(entry.type), _default(entry), _cell(_meaning(entry)), _cell(effect))) + " |"


def _meaning(entry: Explanation) -> str:
    more = entry.description
    if entry.values:
        more += " Takes " + ", ".join(f"`{value}`" for value in entry.values) + "."
    if entry.values_not_built:
        more += " Not supported yet: " + ", ".join(f"`{value}`" for value in entry.values_not_built) + "."
    return more


def _default(entry: Explanation) -> str:
    if entry.required:
        return "**required**"
    if "." not in entry.path and section_of(TrainingConfig, entry.path) is not None:
        return "unset"
    value = entry.default
    return "unset" if value is None or value == [] else f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _cell(text: str) -> str:
    """The text inside a table: no line breaks, no bars, and no tag that a browser would read."""
    parts = " ".join(text.split()).replace("|", "\\|").split("`")
    # Inside backticks nothing is a tag.
    return "`".join(part if index % 2 else part.replace("<", "&lt;") for index, part in enumerate(parts))


def _old_names() -> Iterator[str]:
    yield from ("## Old names", "Read as the current name; `launcher validate --fix` rewrites those in the first table.", "")
    yield from ("| old | current |", "|---|---|")
    renamed = {**RENAMED, **{f"datasets[].{old}": f"datasets[].{new}" for old, new in DATASET_RENAMED.items()}}
    renamed |= {"rope_scaling": "overrides_of_model_config.rope_scaling", "fsdp_config.fsdp_…": "fsdp_config.…"}
    for old, new in renamed.items():
        yield f"| `{old}` | `{new}` |"
    yield from ("", "Both names are right:", "", "| name | also |", "|---|---|")
    for other, name in ALIASES.items():
        yield f"| `{name}` | `{other}` |"
