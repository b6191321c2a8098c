"""What goes where in a model repository, and what of an earlier push goes away."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime.checkpoint.sealing import open_staging, seal
from runtime.publish.hub.contents import checkpoint_files, model_files, stale, strategy_of

RESUME = ("optimizer.pt", "rng_state.pth", "session.json", "trainer_state.json")


def sealed(parent: Path, *names: str, kind: str = "checkpoint", to: str = "step-00000005") -> Path:
    """A sealed folder with these files."""
    with open_staging(parent) as staging:
        for name in names:
            (staging / name).write_text(name)
        seal(staging, parent / to, step=5, config_hash="", world_size=1, kind=kind)
    return parent / to


def test_all_of_a_final_model_goes_to_the_top(tmp_path: Path) -> None:
    folder = sealed(tmp_path, "model.safetensors", "README.md", "config.yml", kind="final", to="final")
    (folder / "merged").mkdir()
    (folder / "merged" / "model.safetensors").write_text("another seal's")
    assert set(model_files(folder)) == {"model.safetensors", "README.md", "config.yml", "manifest.json"}


@pytest.mark.parametrize(
    ("strategy", "prefix"), [("every_save", None), ("checkpoint", "last-checkpoint/"), ("all_checkpoints", "checkpoints/step-00000005/")]
)
def test_a_checkpoint_by_strategy(tmp_path: Path, strategy: str, prefix: str | None) -> None:
    model = ("adapter_config.json", "adapter_model.safetensors", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
    files = checkpoint_files(sealed(tmp_path, *model, *RESUME), strategy)
    everything = {*model, *RESUME, "manifest.json"}
    assert set(files) == set(model) | ({f"{prefix}{name}" for name in everything} if prefix else set())
    assert all(path.is_file() for path in files.values())


def test_an_adapter_over_a_changed_base_is_no_model_yet(tmp_path: Path) -> None:
    folder = sealed(tmp_path, "adapter_config.json", "adapter_model.safetensors", "changed_base.safetensors")
    assert checkpoint_files(folder, "every_save") == {}
    assert all(name.startswith("last-checkpoint/") for name in checkpoint_files(folder, "checkpoint"))


def test_another_model_goes_and_what_is_not_ours_stays() -> None:
    there = ["README.md", ".gitattributes", "notes.txt", "adapter_config.json", "adapter_model.safetensors", "manifest.json"]
    there += [
        "last-checkpoint/optimizer.pt",
        "checkpoints/step-00000001/optimizer.pt",
        "gguf/model-q4.gguf",
        "model-00001-of-00002.safetensors",
    ]
    merged = dict.fromkeys(["model.safetensors", "config.json", "README.md"], Path())
    assert stale(there, merged) == {"adapter_config.json", "adapter_model.safetensors", "manifest.json", "model-00001-of-00002.safetensors"}


def test_the_last_checkpoint_replaces_the_one_before() -> None:
    there = ["last-checkpoint/old.pt", "last-checkpoint/manifest.json", "checkpoints/step-00000001/old.pt", "model.safetensors"]
    assert stale(there, {"last-checkpoint/manifest.json": Path()}) == {"last-checkpoint/old.pt"}


def test_unset_is_every_save() -> None:
    assert (strategy_of(None), strategy_of("end")) == ("every_save", "end")
