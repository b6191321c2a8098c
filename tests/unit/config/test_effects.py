"""No option is accepted and then ignored."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from runtime.config.effects import effect_of, table
from runtime.config.load import check_text
from runtime.config.shape import options

RECIPE = "base_model: org/model\nlearning_rate: 1e-5\ndatasets:\n  - path: rows.jsonl\n    type: chat_template\n"
RUNTIME = Path(__file__).parents[3] / "runtime"
# What a config, or a part of one, is called in the code that reads it.
HOLDERS = frozenset(
    ["config", "recipe", "source", "given", "settings", "group", "entry", "special", "wanted", "asked", "kind", "custom", "form"]
)


def reads(tree: ast.AST) -> set[str]:
    """The names of options that a module reads: as attributes of a config, or from a table of names that it goes through with getattr."""
    found: set[str] = set()
    by_table = False
    told: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load) and _holds_options(node.value):
            found.add(node.attr)
        elif isinstance(node, ast.Call):
            called = node.func.id if isinstance(node.func, ast.Name) else node.func.attr if isinstance(node.func, ast.Attribute) else ""
            if called == "getattr" and isinstance(node.args[1], ast.Constant):
                found.add(str(node.args[1].value))
            elif called in ("getattr", "setting", "given"):
                by_table = True
            # Words of a message are no use of an option.
            told |= {
                id(part)
                for keyword in node.keywords
                if keyword.arg in ("path", "message", "fix", "code", "where")
                for part in ast.walk(keyword)
            }
            told |= {id(part) for part in ast.walk(node) if called == "Problem"}
    if by_table:
        found |= {
            node.value
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in told and node.value.isidentifier()
        }
    return found


def _holds_options(value: ast.expr) -> bool:
    while isinstance(value, ast.Attribute | ast.Call | ast.Subscript):
        if isinstance(value, ast.Attribute) and value.attr in HOLDERS:
            return True
        value = value.func if isinstance(value, ast.Call) else value.value
    return isinstance(value, ast.Name) and value.id in HOLDERS


SOURCES = {
    path.relative_to(RUNTIME.parent): reads(ast.parse(path.read_text(encoding="utf-8")))
    for path in RUNTIME.rglob("*.py")
    if "config" not in path.relative_to(RUNTIME).parts
}


def test_the_table_names_only_options_that_exist() -> None:
    assert set(table()) - {path for path, _, _ in options()} == set()


@pytest.mark.parametrize(
    "name",
    [
        name
        for name, effect in table().items()
        if effect.kind in ("implemented", "passed") and not effect.where.startswith("runtime.config")
    ],
)
def test_an_option_with_an_effect_is_read_where_the_table_says(name: str) -> None:
    effect = effect_of(name)
    word = name.rpartition(".")[2]
    if effect.kind == "implemented":
        file = Path(*effect.where.split(".")).with_suffix(".py")
        assert file in SOURCES, f"{name}: there is no {file}"
        assert word in SOURCES[file], f"{name} is not read in {file}"
    else:
        assert any(word in words for words in SOURCES.values()), f"nothing outside runtime/config reads {name}"


@pytest.mark.parametrize(
    ("line", "path"),
    [
        ("rl: dpo", "rl"),
        ("qat: {weight_dtype: int4}", "qat"),
        ("trl: {num_generations: 4, beta: 0.1}", "trl"),
        ("unsloth_rope: true", "unsloth_rope"),
        ("s2_attention: true", "s2_attention"),
        ("tiled_mlp_use_original_mlp: false", "tiled_mlp_use_original_mlp"),
        ("save_safetensors: false", "save_safetensors"),
        ("flash_optimum: true", "flash_optimum"),
        ("comet_api_key: abc", "comet_api_key"),
        ("optimizer: dion", "optimizer"),
        ("optimizer: adalomo", "optimizer"),
        ("nf4_backend: torchao", "nf4_backend"),
        ("merge_method: memory_efficient", "merge_method"),
        ("plugins: [axolotl.integrations.densemixer.DenseMixerPlugin]", "plugins[0]"),
        ("chat_template: jamba", "chat_template"),
        ("image_size: 512", "image_size"),
    ],
)
def test_what_is_known_and_not_built_is_an_error_that_says_so(line: str, path: str) -> None:
    problems = check_text(RECIPE + line + "\n", file="r.yml").errors
    assert [(problem.code, problem.path, problem.line) for problem in problems] == [("unsupported", path, 6)]
    assert "not supported here yet" in problems[0].message or "refused" in problems[0].message


@pytest.mark.parametrize(
    "line",
    [
        "rl:",
        "liger_rope: false",
        "trl: null",
        "streaming: false",
        "lisa_layers_attribute: model.layers",
        "otel_metrics_port: 8000",
        "save_safetensors: true",
        "is_llama_derived_model: true",
        "activation_offloading: false",
        "base_model_ignore_patterns: ['*.bin']",
        "tiled_mlp_use_original_mlp: true",
    ],
)
def test_what_asks_for_nothing_is_no_error(line: str) -> None:
    assert check_text(RECIPE + line + "\n", file="r.yml").errors == ()


def test_options_of_a_dataset_are_checked_one_by_one() -> None:
    problems = check_text(
        RECIPE + "    field_human: h\n    split: train\ntest_datasets:\n  - path: b\n    field_model: m\n", file="r.yml"
    ).errors
    assert [(problem.code, problem.path, problem.line) for problem in problems] == [
        ("unsupported", "datasets[0].field_human", 6),
        ("unsupported", "test_datasets[0].field_model", 10),
    ]


def test_an_unknown_option_has_no_effect() -> None:
    assert effect_of("rl").kind == "unsupported"
    assert str(effect_of("lora_r")) == "passed to LoraConfig.r"
    assert effect_of("test_datasets[].type").kind == "implemented"
    assert effect_of("launch.nodes").kind == "implemented"
