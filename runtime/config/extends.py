"""`extends`: a word of recipe files and no option, since the launcher joins a recipe with what it extends before anything reads it."""

from __future__ import annotations

KEY = "extends"
DESCRIPTION = (
    "A recipe that this one is laid over: the path of a file, `./base.yml`, or a family as `launcher new` writes it, `qwen-3/8b/qlora`. Mappings are joined key "
    "by key, anything else replaces what the other has, and an empty value removes it. A file lies below the recipe's folder, the current one, or that of templates."
)
EFFECT = "joined by the launcher before anything else is read"
"""Where it acts, as `launcher explain` says it."""
