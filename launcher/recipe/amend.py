"""Values laid over the text of a recipe, whose comments and order stay."""

from __future__ import annotations

import io
from collections.abc import Sequence

from runtime.config.problem import UserError


def amended(text: str, sets: Sequence[str]) -> str:
    """The recipe with each `a.b=c` of `sets` written into it; options it did not have come last. Raises UserError for words that cannot be laid over it."""
    if not sets:
        return text
    from ruamel.yaml import YAML

    from runtime.config import overrides
    from runtime.config.document import Document

    yaml = YAML(typ="rt")
    yaml.preserve_quotes = True
    yaml.width = 1 << 16
    yaml.indent(mapping=2, sequence=4, offset=2)
    values = yaml.load(text)
    before = set(values)
    problems = overrides.apply(Document(file="", text="", values=values), sets)
    if problems:
        raise UserError(problems)
    added = [key for key in values if key not in before]
    if added:
        values.yaml_set_comment_before_after_key(added[0], before="\nSet with --set.")
    out = io.StringIO()
    yaml.dump(values, out)
    return out.getvalue()
