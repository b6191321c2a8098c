"""Rules of `plugins:` and of the options that belong to a plugin."""

from __future__ import annotations

from collections.abc import Iterator

from runtime.config.effects import effect_of
from runtime.config.finding import Finding
from runtime.config.given import given
from runtime.config.plugins import PREFIX, SHIPPED, Shipped, is_shipped, listed, meant, owner_of, shipped
from runtime.config.schema import TrainingConfig


def plugin_names(config: TrainingConfig) -> Iterator[Finding]:
    """An entry names an extension of the public tool that is not built here, or that there is not; an entry stands there twice."""
    seen: dict[str, int] = {}
    for index, entry in enumerate(config.plugins or ()):
        path = ("plugins", index)
        found = shipped(entry)
        first = seen.setdefault(found.entry if found is not None else entry, index)
        if first != index:
            yield Finding(
                code="no-effect", path=path, message=f"the plugin is listed already, as plugins[{first}]", fix="Remove it.", warning=True
            )
        elif found is not None and not is_built(found):
            yield Finding(
                code="unsupported",
                path=path,
                message=f"the plugin {found.entry} is known, not supported here yet",
                fix="Remove it and its options: they would have no effect.",
            )
        elif (
            found is not None
            and found.class_name
            and not any(given(config, name) for name in type(config).model_fields if found.owns(name))
        ):
            yield Finding(
                code="no-effect",
                path=path,
                message=f"the plugin is listed, and none of its options is set: nothing of {found.name} is on",
                fix=f"Set one of {', '.join(name for name in TrainingConfig.model_fields if found.owns(name) and _works(name))}; or remove the entry.",
                warning=True,
            )
        elif found is None and is_shipped(entry):
            suggestion = meant(entry)
            names = ", ".join(sorted(PREFIX + plugin.name for plugin in SHIPPED.values() if is_built(plugin)))
            yield Finding(
                code="unknown-name",
                path=path,
                message=f"there is no plugin '{entry}'",
                fix=f"did you mean '{suggestion}'?" if suggestion else f"Built in: {names}. A plugin of your own has another name.",
                suggestion=suggestion,
            )


def plugin_is_listed(config: TrainingConfig) -> Iterator[Finding]:
    """An option of a plugin is given, and its plugin is not listed. The public tool would pass over it; here it works all the same."""
    there = {plugin.name for plugin in listed(config.plugins)}
    for name in type(config).model_fields:
        owner = owner_of(name) if given(config, name) else None
        if owner is None or owner.name in there or not owner.class_name or effect_of(name).kind in ("unsupported", "refused"):
            continue
        there.add(owner.name)
        yield Finding(
            code="no-plugin",
            path=(name,),
            involves=("plugins",),
            message=f"'{name}' belongs to the plugin {owner.entry}, which `plugins:` does not list; it takes effect here all the same",
            fix="`launcher validate --fix` adds the entry, which other tools need.",
            suggestion=owner.entry,
            warning=True,
        )


def is_built(plugin: Shipped) -> bool:
    """Whether any option of the extension has an effect here."""
    return any(_works(name) for name in TrainingConfig.model_fields if plugin.owns(name))


def _works(name: str) -> bool:
    return effect_of(name).kind in ("implemented", "passed")


RULES = (plugin_names, plugin_is_listed)
