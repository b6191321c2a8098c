"""What every nested section of a recipe has in common: no unknown keys, no silent conversions."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A mapping inside a recipe. Its validator is built on first use, which keeps the start of every command short."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, defer_build=True, protected_namespaces=())
