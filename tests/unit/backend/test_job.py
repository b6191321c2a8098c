from pathlib import Path

from launcher.backend.job import settled
from runtime.config.load import check_text, dump_yaml

RECIPE = "base_model: m\ndatasets:\n  - path: d.jsonl\n    type: alpaca\nmicro_batch_size: 1\nlearning_rate: 0.0001\nmax_steps: 3\n"


def config(more: str = ""):
    checked = check_text(RECIPE + more, file="r.yml")
    assert checked.config is not None, checked.errors
    return checked.config


def test_a_run_without_an_output_folder_gets_its_own():
    made = settled(config(), run="calm-otter-x7k", cwd=Path("/work"))
    assert made.output_dir == "/work/model-out/calm-otter-x7k"
    assert made.launch.name == "calm-otter-x7k"


def test_folders_are_absolute_and_urls_are_kept():
    made = settled(config("output_dir: out\nlaunch:\n  storage: store\n"), run="a", cwd=Path("/work"))
    assert (made.output_dir, made.launch.storage) == ("/work/out", "/work/store")
    assert settled(config("launch:\n  storage: file:///store\n"), run="a", cwd=Path("/work")).launch.storage == "file:///store"
    assert settled(config("output_dir: /elsewhere\n"), run="a", cwd=Path("/work")).output_dir == "/elsewhere"


def test_what_was_settled_reads_back():
    made = settled(config("launch:\n  max_hours: 2\n"), run="a", cwd=Path("/work"))
    again = check_text(dump_yaml(made), file="config.yml")
    assert again.config == made
    assert again.config.launch.max_hours == 2
