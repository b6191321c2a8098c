"""The model card that travels with a trained model."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from runtime.config.resources import data_dir
from runtime.model.load import is_local, seed_of

FACTS = "facts.json"
_LIBRARIES = ("torch", "transformers", "peft", "datasets", "finetune-launcher")


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the card says; everything is known from the recipe and the training itself."""

    run: str
    base_model: str
    base_is_on_hub: bool
    method: str
    datasets: tuple[str, ...]
    hub_datasets: tuple[str, ...]
    rows: int
    steps: int
    epochs: float
    sequence_len: int
    packing: bool
    learning_rate: float
    optimizer: str
    schedule: str
    lora: str
    seed: int
    final_loss: float | None
    eval_loss: float | None
    versions: dict[str, str]
    repository: str = ""

    @classmethod
    def of(cls, config: Any, *, run: str, steps: int, epochs: float, rows: int, final_loss: float | None, eval_loss: float | None) -> Facts:
        """The facts of a training that ended after `steps` optimizer steps."""
        names = tuple(dict.fromkeys(str(dataset.path) for dataset in config.datasets or () if getattr(dataset, "path", None)))
        # A local path says something about somebody's machine and nothing to a reader: its last part is enough.
        return cls(
            run=run,
            base_model=Path(config.base_model).name if is_local(config.base_model) else config.base_model,
            base_is_on_hub=not is_local(config.base_model),
            method="ReLoRA"
            if config.relora
            else {None: "full fine-tuning", "lora": "LoRA", "qlora": "QLoRA"}.get(config.adapter, str(config.adapter)),
            datasets=tuple(Path(name).name if is_local(name) else name for name in names),
            hub_datasets=tuple(name for name in names if not is_local(name) and name.count("/") == 1),
            rows=rows,
            steps=steps,
            epochs=round(epochs, 3),
            sequence_len=config.sequence_len,
            packing=bool(config.sample_packing),
            learning_rate=float(config.learning_rate),
            optimizer=str(config.optimizer or "adamw_torch_fused"),
            schedule=str(config.lr_scheduler or "cosine"),
            lora=f"r {config.lora_r}, alpha {config.lora_alpha}, dropout {config.lora_dropout or 0:g}" if config.adapter else "",
            seed=seed_of(config),
            final_loss=final_loss,
            eval_loss=eval_loss,
            versions=_versions(),
            # A name without its owner is of no use to a reader.
            repository=config.hub_model_id if config.hub_model_id and "/" in config.hub_model_id else "",
        )


def write_card(folder: Path, facts: Facts, *, merged: bool = False) -> None:
    """Write the card as `README.md` into `folder`, and its facts beside it; `merged` when the adapter there has been merged into its base."""
    (folder / "README.md").write_text(render_card(facts, merged=merged), encoding="utf-8")
    (folder / FACTS).write_text(json.dumps(asdict(facts), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read_facts(folder: Path) -> Facts | None:
    """The facts of the card in `folder`; None where a version of before kept none."""
    file = folder / FACTS
    if not file.is_file():
        return None
    kept = json.loads(file.read_text(encoding="utf-8"))
    return Facts(**{name: tuple(value) if isinstance(value, list) else value for name, value in kept.items()})


def render_card(facts: Facts, *, merged: bool = False) -> str:
    """The card's text: the Hub's header of metadata, then what was trained and how to use it."""
    from jinja2 import FileSystemLoader, StrictUndefined
    from jinja2.sandbox import SandboxedEnvironment

    # Not HTML: the values are escaped for YAML, as JSON strings, where the template says so.
    environment = SandboxedEnvironment(
        loader=FileSystemLoader(data_dir("templates")), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False
    )
    environment.filters["quoted"] = json.dumps
    adapter = facts.method != "full fine-tuning" and not merged
    return environment.get_template("model_card.md.j2").render(**asdict(facts), adapter=adapter, merged=merged)


def _versions() -> dict[str, str]:
    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
