"""A plugin's module is found, imported and judged; whatever is wrong with it is said in a sentence."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.plugins.files import copy_plugins
from runtime.plugins.loading import PluginError, load_plugin, search_folders

GOOD = "from runtime.plugins import Plugin\n\nclass Mine(Plugin):\n    pass\n"


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A recipe's folder; the import path is afterwards as it was."""
    before, modules = list(sys.path), set(sys.modules)
    yield tmp_path
    sys.path[:] = before
    for name in set(sys.modules) - modules:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def load(folder: Path, entry: str):
    return load_plugin(entry, search_folders(str(folder / "recipe.yml")))


def test_a_module_beside_the_recipe_and_what_it_imports_there(folder: Path) -> None:
    files = [write(folder, "mine.py", "import beside\n" + GOOD), write(folder, "beside.py", "")]
    write(folder, "unrelated.py", "")
    plugin = load(folder, "mine.Mine")
    assert type(plugin.instance).__name__ == "Mine"
    assert (plugin.root, sorted(plugin.files)) == (folder, sorted(files))


def test_a_package_brings_all_of_its_python_files(folder: Path) -> None:
    files = [write(folder, f"pkg/{name}", text) for name, text in (("__init__.py", ""), ("deep/plugin.py", GOOD), ("deep/later.py", ""))]
    write(folder, "pkg/weights.bin", "x")
    assert sorted(load(folder, "pkg.deep.plugin.Mine").files) == sorted(files)


def test_a_copy_elsewhere_loads_alike(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    write(folder, "pkg/__init__.py", "")
    write(folder, "pkg/plugin.py", GOOD)
    run = tmp_path_factory.mktemp("run")
    config = type("Config", (), {"loaded_plugins": (load(folder, "pkg.plugin.Mine"),)})()
    copy_plugins(config, run)
    copied = load(run, "pkg.plugin.Mine")
    assert copied.root == run / "plugins"
    assert sys.modules["pkg.plugin"].__file__ == str(run / "plugins" / "pkg" / "plugin.py")


def test_the_same_name_beside_another_recipe_is_another_plugin(tmp_path: Path, folder: Path) -> None:
    for name in ("one", "two"):
        write(tmp_path / name, "mine.py", GOOD + f"    name = '{name}'\n")
    assert [load(tmp_path / name, "mine.Mine").instance.name for name in ("one", "two", "one")] == ["one", "two", "one"]


def test_a_neighbour_never_replaces_a_library(folder: Path) -> None:
    write(folder, "pydantic.py", "raise ValueError('replaced')\n")
    write(folder, "mine.py", "import importlib, sys\nsys.modules.pop('yaml_nothing', None)\nimport colorsys\n" + GOOD)
    write(folder, "colorsys.py", "raise ValueError('replaced')\n")
    assert load(folder, "mine.Mine").files == (folder / "mine.py",)


def test_what_a_module_prints_stays_out_of_stdout(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(folder, "mine.py", "print('hello')\n" + GOOD)
    load(folder, "mine.Mine")
    assert capsys.readouterr() == ("", "hello\n")


def test_options_by_import_path_leave_heavy_modules_alone(folder: Path) -> None:
    write(folder, "light.py", "from pydantic import BaseModel\n\nclass Options(BaseModel):\n    a: int = 1\n")
    write(folder, "mine.py", GOOD + "    def get_input_args(self):\n        return 'light.Options'\n")
    plugin = load(folder, "mine.Mine")
    assert list(plugin.arguments.model_fields) == ["a"]
    assert {file.name for file in plugin.files} == {"mine.py", "light.py"}


@pytest.mark.parametrize(
    ("text", "entry", "says", "fix"),
    [
        (GOOD, "mine", "no import path", "module.ClassName"),
        (GOOD, "mine.Min e", "no import path", "module.ClassName"),
        (GOOD, "absent.Mine", "there is no module 'absent'", "beside the recipe"),
        (GOOD, "mine.deeper.Mine", "there is no module 'mine.deeper'", "beside the recipe"),
        (GOOD, "mine.Mien", "has no class 'Mien'", "mine.Mine"),
        (GOOD, "mine.Plugin", "is no plugin", "inherits"),
        ("class Mine: pass\n", "mine.Mine", "is no plugin", "runtime.plugins.Plugin"),
        ("", "mine.Mine", "has no class", "runtime.plugins.Plugin"),
        ("import torch_that_is_missing\n", "mine.Mine", "imports torch_that_is_missing", "inside the hooks"),
        ("import axolotl.integrations.base\n", "mine.Mine", "imports axolotl", "from runtime.plugins import Plugin"),
        ("1 / 0\n", "mine.Mine", "ZeroDivisionError: division by zero (mine.py:1)", "Mend"),
        ("def f(:\n", "mine.Mine", "SyntaxError", "Mend"),
        ("raise SystemExit(3)\n", "mine.Mine", "SystemExit: 3", "Mend"),
        (GOOD + "    def __init__(self, cfg): ...\n", "mine.Mine", "cannot be made", "no arguments"),
        (GOOD + "    def get_trainer_cls(self, cfg): ...\n", "mine.Mine", "get_trainer_cls, which is not called", "seals"),
        (GOOD + "    def load_datasets(self, cfg, preprocess): ...\n", "mine.Mine", "load_datasets, which is not called", "datasets"),
        (GOOD + "    def get_input_args(self): return 3\n", "mine.Mine", "no pydantic model", "BaseModel"),
        (GOOD + "    def get_input_args(self): return 'mine.Absent'\n", "mine.Mine", "no pydantic model", "BaseModel"),
        (GOOD + "    def get_input_args(self): return 'gone.Options'\n", "mine.Mine", "there is no module 'gone'", "beside"),
        (GOOD + "    def get_input_args(self): return {}['x']\n", "mine.Mine", "KeyError: 'x' (mine.py:5)", "pydantic"),
    ],
)
def test_what_is_wrong_is_said(folder: Path, text: str, entry: str, says: str, fix: str) -> None:
    write(folder, "mine.py", text)
    with pytest.raises(PluginError) as caught:
        load(folder, entry)
    assert says in caught.value.message
    assert fix in caught.value.fix


def test_a_hook_that_is_misspelt_is_doubted(folder: Path) -> None:
    write(folder, "mine.py", GOOD + "    def post_model_lod(self, cfg, model): ...\n    def helper(self): ...\n")
    assert load(folder, "mine.Mine").doubts == ("post_model_lod is no hook and is never called; post_model_load is one",)
