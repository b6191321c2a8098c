"""A family of models: its sizes and what is known about each, read from one facts file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, model_validator

from runtime.config.problem import Problem, UserError
from runtime.config.section import Section

DEFAULT_BATCH = 16
DEFAULT_SEQUENCE = 2048


class Tuning(Section):
    """The numbers a method starts from at one size."""

    learning_rate: float = Field(gt=0, description="Peak learning rate.")
    micro_batch: int = Field(1, ge=1, description="Rows of one forward pass where the recipe is not made for a GPU.")
    rank: int | None = Field(None, ge=1, description="Rank of the adapter; alpha is twice as much.")
    batch: int = Field(DEFAULT_BATCH, ge=1, description="Rows of one optimizer step, over all GPUs.")
    sequence_len: int | None = Field(
        None, ge=1, description=f"Tokens of a row. Default: {DEFAULT_SEQUENCE}, or the context where that is shorter."
    )
    optimizer: str | None = Field(None, description="Optimizer; the method's own when unset.")


class Size(Section):
    """One size of a family. What is unset is that of the family."""

    instruct: str | None = Field(None, description="Hub id of the model that chats.")
    base: str | None = Field(None, description="Hub id of the model that continues text.")
    context: int = Field(ge=1, description="Longest row in tokens the model is made for.")
    methods: dict[str, Tuning] = Field(min_length=1, description="Methods this size is offered with.")
    licence: str | None = Field(None, description="Licence of the weights.")
    gated: bool | None = Field(None, description="Whether the Hub asks for an agreement, and so for a token.")
    chat_template: str | None = Field(None, description="As the option of that name.")
    special_tokens: dict[str, str] | None = Field(None, description="As the option of that name.")
    eot_tokens: list[str] | None = Field(None, description="As the option of that name.")
    adapts: str | None = Field(None, description="Pattern of the layers that get an adapter, where every linear layer is too many.")
    options: dict[str, Any] | None = Field(None, description="Further options of the recipe that this model needs.")

    @model_validator(mode="after")
    def _has_a_model(self) -> Size:
        if not self.instruct and not self.base:
            raise ValueError("a size names a model: `instruct`, `base` or both")
        return self

    def model_for(self, method: str) -> str:
        """Hub id of the model to start from: the base for text alone, the one that chats for everything else, or whichever there is."""
        first, second = (self.base, self.instruct) if method == "pretrain" else (self.instruct, self.base)
        return str(first or second)


class Family(Section):
    """Models of one design in several sizes. Most fields are defaults of those of `Size`."""

    title: str = Field(description="Name as people say it.")
    licence: str = Field(description="Licence of the weights.")
    gated: bool = Field(False, description="Whether the Hub asks for an agreement.")
    chat_template: str = Field("tokenizer_default", description="As the option of that name.")
    special_tokens: dict[str, str] = Field(default_factory=dict, description="As the option of that name.")
    eot_tokens: list[str] = Field(default_factory=list, description="As the option of that name.")
    adapts: str | None = Field(None, description="Pattern of the layers that get an adapter.")
    options: dict[str, Any] = Field(default_factory=dict, description="Further options of every recipe of the family.")
    sizes: dict[str, Size] = Field(min_length=1, description="Sizes by their name, the smallest first.")

    def facts(self, size: str) -> dict[str, Any]:
        """What templates see of a size: its own facts over those of the family."""
        own = self.sizes[size]
        shared = ("licence", "gated", "chat_template", "special_tokens", "eot_tokens", "adapts", "options")
        facts = {name: getattr(self, name) if getattr(own, name) is None else getattr(own, name) for name in shared}
        return {"name": size, "instruct": own.instruct, "base": own.base, "context": own.context, **facts}


def read_family(path: Path) -> Family:
    """The family in a facts file. Raises UserError naming the file and each thing wrong with it."""
    from runtime.config.document import BrokenYamlError, read
    from runtime.config.load import read_text

    try:
        values: Mapping[Any, Any] = read(read_text(path), file=str(path)).values
        return Family.model_validate(values)
    except BrokenYamlError as error:
        raise UserError(error.problem) from None
    except ValidationError as error:
        raise UserError(
            Problem(code="wrong-type", path=".".join(str(part) for part in item["loc"]), file=str(path), message=_said(item))
            for item in error.errors(include_url=False)
        ) from None


def _said(item: Any) -> str:
    place = ".".join(str(part) for part in item["loc"])
    return f"this is no facts file of a family: {place + ': ' if place else ''}{item['msg']}"
