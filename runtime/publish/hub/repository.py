"""A repository of the Hub that a run writes to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

if TYPE_CHECKING:
    from huggingface_hub import HfApi

MAIN = "main"


@dataclass(frozen=True, slots=True, kw_only=True)
class Repository:
    """Where to write: `id` as `owner/name`, or the name alone for one of the token's own user. The token is never shown."""

    id: str
    option: str
    kind: Literal["model", "dataset"] = "model"
    revision: str = MAIN
    private: bool = True
    endpoint: str
    token: str | None = field(repr=False)

    @property
    def url(self) -> str:
        """Its page."""
        page = f"{self.endpoint}/{'datasets/' if self.kind == 'dataset' else ''}{self.id}"
        return page if self.revision == MAIN else f"{page}/tree/{quote(self.revision, safe='')}"

    def api(self) -> HfApi:
        """The Hub's client, with this repository's token."""
        from huggingface_hub import HfApi

        # A missing token must stay missing: None would have the client look for one by itself.
        return HfApi(endpoint=self.endpoint, token=self.token if self.token is not None else False, library_name="finetune-launcher")


def model_repository(config: Any) -> Repository | None:
    """The repository of `hub_model_id`, with the token of this process; None when the recipe names none."""
    if not config.hub_model_id:
        return None
    return _repository(config, config.hub_model_id, option="hub_model_id", kind="model", revision=config.hub_revision or MAIN)


def dataset_repository(config: Any) -> Repository | None:
    """The repository of `push_dataset_to_hub`, with the token of this process; None when the recipe names none."""
    if not config.push_dataset_to_hub:
        return None
    return _repository(config, config.push_dataset_to_hub, option="push_dataset_to_hub", kind="dataset", revision=MAIN)


def _repository(config: Any, name: str, *, option: str, kind: Literal["model", "dataset"], revision: str) -> Repository:
    from huggingface_hub import constants, get_token

    return Repository(
        id=name,
        option=option,
        kind=kind,
        revision=revision,
        private=config.launch.publish.private,
        endpoint=constants.ENDPOINT,
        token=get_token(),
    )
