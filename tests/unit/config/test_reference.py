"""Every option of the public reference is known, takes what the reference says, and refuses what it does not."""

from __future__ import annotations

import ast
import csv
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from runtime.config.load import check_text
from runtime.config.renames import ALIASES, RENAMED
from runtime.config.schema import TrainingConfig
from runtime.config.shape import field_at, options

_HERE = Path(__file__).parent
REFERENCE = list(csv.DictReader((_HERE / "reference_options.csv").open(encoding="utf-8")))
NEWER = list(csv.DictReader((_HERE / "newer_options.csv").open(encoding="utf-8")))

# Values of the reference's own types, and of options whose type says less than their meaning.
NAMED = {
    "RLType": "dpo",
    "TorchAOQuantDType": "int4",
    "RingAttnFunc": "batch_ring",
    "OptimizerNames": "adamw_torch",
    "SchedulerType": "linear",
    "ChatTemplate": "chatml",
    "Resampling": "bilinear",
    "Annotated": [{"path": "other.jsonl", "type": "alpaca"}],
    "UserDefinedPrompterType": "alpaca",
    "UserDefinedDPOType": "chatml.intel",
    "UserDefinedKTOType": "chatml.argilla",
    "list[LrGroup]": [{"name": "a", "modules": ["q_proj"], "lr": 0.1}],
    "list[tuple[int, int]]": [[0, 4]],
    "tuple[int, int]": [3, 4],
    "list[int]": [1, 2],
    "list[float]": [0.5],
    "dict[int": {1: "x"},
    "dict[str, list[str]]": {"user": ["human"]},
    "dict[str, str]": {"role": "from"},
}
MEANT = {
    "save_strategy": "steps",
    "eval_strategy": "steps",
    "evaluation_strategy": "steps",
    "wandb_mode": "offline",
    "comet_mode": "get",
    "hub_strategy": "end",
    "adapter": "lora",
    "attn_implementation": "sdpa",
    "swanlab_mode": "offline",
    "experts_implementation": "grouped_mm",
    "fsdp_version": 2,
    "fsdp_config.fsdp_version": 2,
    "peft_init_lora_weights": True,
    "peft.loftq_config.loftq_bits": 4,
    "sample_packing_mp_start_method": "spawn",
    "unfrozen_parameters": ["lm_head"],
    "datasets[].ds_type": "json",
    "datasets[].type": "alpaca",
    "datasets[].chat_template": "chatml",
    "merge_method": "legacy",
    "relora_prune_method": "random",
    "mora.mora_type": "sharing",
    "dpo_loss_weights": [0.5],
    "eval_causal_lm_metrics": ["sacrebleu"],
    "kd_online_server": "vllm",
    "save_safetensors": True,
    "learning_rate": 0.0002,
    "max_memory": {"cpu": "20GiB"},
    "llmcompressor": {"save_compressed": True},
}


def _value(path: str, kind: str) -> Any:
    """A value of the type the reference names."""
    if path in MEANT:
        return MEANT[path]
    literal = re.search(r"Literal\[(.*?)\]", kind)
    if literal:
        return ast.literal_eval(f"[{literal[1]}]")[0]
    enumerated = re.search(r"enum\[(.*?)\]", kind)
    if enumerated:
        return ast.literal_eval(f"[{enumerated[1]}]")[0]
    for name, value in NAMED.items():
        if kind.startswith(name) or (name in kind and not name[0].islower()):
            return value
    first = kind.removeprefix("Optional[").split(" | ")[0].rstrip("]")
    plain = {
        "bool": True,
        "boolean": True,
        "int": 3,
        "integer": 3,
        "float": 0.25,
        "number": 0.25,
        "str": "x",
        "string": "x",
        "dict": {"a": 1},
        "Any": {"a": 1},
    }
    for name, value in plain.items():
        if first == name or (name == "dict" and first.startswith("dict")):
            return value
    if first.startswith(("list[str", "list[string", "List[str")):
        return ["x"]
    if first.startswith("list[dict") or "Boundary" in first:
        return [{"a": 1}]
    return {}


def _wrong(kind: str) -> Any:
    """A value of none of the types in `kind`, or None where everything is allowed."""
    if "Any" in kind.split(" | "):
        return None
    if not re.search(r"dict|Config|User|number|object", kind) and "Annotated" not in kind:
        return {"zz": 1}
    if "list" in kind or "Annotated" in kind:
        return 7
    return ["zz", ["zz"]]


def _placed(path: str, value: Any) -> tuple[str, int]:
    """A recipe with `value` at `path`, and the line that option stands on."""
    parts = re.sub(r"<[^>]*>", "", path).split(".")
    values: dict[str, Any] = {"base_model": "org/model", "learning_rate": 0.0001, "datasets": [{"path": "rows.jsonl", "type": "alpaca"}]}
    holder = values
    for depth, part in enumerate(parts):
        name, listed = part.removesuffix("[]"), part.endswith("[]")
        if depth == len(parts) - 1:
            holder[name] = value
        elif listed:
            holder[name] = [
                dict(holder[name][0])
                if isinstance(holder.get(name), list)
                else {"name": "a", "modules": ["q"], "lr": 0.1}
                if name == "lr_groups"
                else {"path": "p"}
            ]
            holder = holder[name][0]
        else:
            holder[name] = dict(inner) if isinstance(inner := holder.get(name), dict) else {}
            holder = holder[name]
    text = yaml.safe_dump(values, sort_keys=False)
    line, start = 0, 0
    lines = text.splitlines()
    for part in parts:
        key = re.compile(rf"^[\s-]*{re.escape(part.removesuffix('[]'))}:")
        line = next(number for number in range(start, len(lines)) if key.match(lines[number]))
        start = line + 1
    return text, line + 1


def _name(path: str) -> str:
    return re.sub(r"<[^>]*>", "", path)


@pytest.mark.parametrize("row", REFERENCE, ids=lambda row: row["path"])
def test_an_option_of_the_reference_takes_a_value_of_its_type(row: dict[str, str]) -> None:
    text, _ = _placed(row["path"], _value(_name(row["path"]), row["type"]))
    checked = check_text(text, file="r.yml")
    wrong = [problem for problem in checked.errors if problem.code in ("unknown-key", "wrong-type", "out-of-range", "unknown-name", "yaml")]
    assert not wrong, (text, [str(problem) for problem in wrong])


@pytest.mark.parametrize("row", [row for row in REFERENCE if _wrong(row["type"]) is not None], ids=lambda row: row["path"])
def test_an_option_of_the_reference_refuses_another_type_with_path_and_line(row: dict[str, str]) -> None:
    text, line = _placed(row["path"], _wrong(row["type"]))
    checked = check_text(text, file="r.yml")
    name = re.sub(r"\[\d+\]", "[]", _name(row["path"]))
    current = RENAMED.get(name, name)
    found = [
        problem
        for problem in checked.errors
        if problem.code in ("wrong-type", "unknown-key") and re.sub(r"\[\d+\]", "[]", problem.path).startswith(current)
    ]
    assert found, (text, [str(problem) for problem in checked.errors])
    assert line <= (found[0].line or 0) <= line + 1, (text, line, found)
    assert checked.config is None


@pytest.mark.parametrize("row", REFERENCE, ids=lambda row: row["path"])
def test_defaults_are_those_of_the_reference(row: dict[str, str]) -> None:
    path = tuple(part.removesuffix("[]") for part in _name(row["path"]).split("."))
    path = (RENAMED.get(path[0], path[0]), *path[1:])
    # Two names of the reference describe a default in words; one is empty there and a name here.
    spelt = {"TorchAOQuantDType.int8": "int8", "OptimizerNames.ADAMW_TORCH_FUSED": "adamw_torch_fused", "SchedulerType.COSINE": "cosine"}
    info, _ = field_at(path)
    assert info is not None, path
    if row["required"]:
        assert info.is_required()
        return
    if row["path"] in (
        "dynamic_checkpoint.trigger_file_path",
        "resources_per_worker",
        "datasets[]<SFTDataset>.type",
        "max_packed_sequence_len",
    ):
        return
    default = info.get_default(call_default_factory=True)
    if row["path"] not in ("relora_steps",):
        assert str("" if default is None else default) == spelt.get(row["default"], row["default"])


METHODS = {"SFTDataset": None, "DPODataset": "dpo", "KTODataset": "kto", "StepwiseSupervisedDataset": None, "PretrainingDataset": None}
VARIANTS = [(row, found[1]) for row in REFERENCE if (found := re.search(r"<(\w+)>", row["path"])) and found[1] in METHODS]


def test_every_kind_of_dataset_of_the_reference_is_covered() -> None:
    assert {kind for _, kind in VARIANTS} == set(METHODS)
    assert {kind: sum(other == kind for _, other in VARIANTS) for kind in METHODS} == {
        "SFTDataset": 43,
        "DPODataset": 13,
        "KTODataset": 12,
        "StepwiseSupervisedDataset": 7,
        "PretrainingDataset": 8,
    }


@pytest.mark.parametrize(("row", "kind"), VARIANTS, ids=lambda value: value["path"] if isinstance(value, dict) else "")
def test_a_key_of_one_kind_of_dataset_reads_back_under_its_method(row: dict[str, str], kind: str) -> None:
    value = _value(_name(row["path"]), row["type"])
    text, _ = _placed(row["path"], value)
    method = METHODS[kind]
    checked = check_text(text + (f"rl: {method}\n" if method else ""), file="r.yml")
    wrong = [problem for problem in checked.errors if problem.code in ("unknown-key", "wrong-type", "out-of-range", "unknown-name", "yaml")]
    assert not wrong, (text, [str(problem) for problem in wrong])
    got: Any = TrainingConfig.model_validate(yaml.safe_load(text))
    for part in _name(row["path"]).split("."):
        got = getattr(got, part.removesuffix("[]"))
        got = got[0] if part.endswith("[]") else got
    assert got == value or getattr(got, "model_dump", dict)() != {}


def _newer_path(row: dict[str, str]) -> str | None:
    """Where a newer key is known here; None for keys that belong to no recipe."""
    name, where = row["name"], row["where"]
    if where in ("trl", "datasets[]"):
        return f"{where}.{name}"
    if name in TrainingConfig.model_fields or name in RENAMED or name in ALIASES:
        return name
    inside = [
        path
        for path, _, _ in options()
        if path.endswith(f".{name}") and path.startswith(where.removeprefix("plugin ").replace("_", "")[:6])
    ]
    inside += [path for path, _, _ in options() if path.endswith(f".{name}") and path.split(".")[0] == where.removeprefix("plugin ")]
    return inside[0] if inside else None


@pytest.mark.parametrize("row", NEWER, ids=lambda row: f"{row['where']}:{row['name']}")
def test_a_key_of_todays_recipes_is_known(row: dict[str, str]) -> None:
    path = _newer_path(row) or row["name"]
    text, _ = _placed(path, _value(path, row["type"]))
    checked = check_text(text, file="r.yml")
    assert "unknown-key" not in {problem.code for problem in checked.errors}, [str(problem) for problem in checked.errors]


NEWER_TYPED = [(path, row["type"]) for row in NEWER if (path := _newer_path(row)) is not None]


@pytest.mark.parametrize(("path", "kind"), NEWER_TYPED)
def test_a_newer_option_takes_its_type_and_no_other(path: str, kind: str) -> None:
    plain = kind.removeprefix("Annotated[").split(", Field")[0]
    text, _ = _placed(path, _value(path, plain))
    checked = check_text(text, file="r.yml")
    wrong = [problem for problem in checked.errors if problem.code in ("unknown-key", "wrong-type", "unknown-name", "yaml")]
    assert not wrong, (text, [str(problem) for problem in wrong])
    if _wrong(plain) is None or "Any" in plain:
        return
    text, line = _placed(path, _wrong(plain))
    found = [problem for problem in check_text(text, file="r.yml").errors if problem.code in ("wrong-type", "unknown-key")]
    assert found, text
    assert line <= (found[0].line or 0) <= line + 1, (text, line, found)


def test_every_option_has_a_description_of_its_own() -> None:
    described = {path: info.description or "" for path, info, _ in options()}
    assert [path for path, text in described.items() if len(text) < 10] == []
    assert set(ALIASES.values()) | set(RENAMED.values()) <= set(TrainingConfig.model_fields)
