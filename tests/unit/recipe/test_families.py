"""Families and methods: every one renders, is valid, and needs what the golden table says.

`LAUNCHER_GOLDEN=write pytest tests/unit/recipe/test_families.py` writes tests/data/families.csv and families_on_gpus.csv anew: read the difference.
"""

from __future__ import annotations

import csv
import io
import os
import re
from pathlib import Path

import pytest

from launcher.estimate.chosen_way import chosen_way
from launcher.estimate.estimate import Estimate
from launcher.estimate.family_needs import Need, needs
from launcher.estimate.gpus import parse_gpus
from launcher.estimate.hardware import cards
from launcher.estimate.known_models import known_config
from launcher.estimate.model_source import find_model
from launcher.estimate.new_recipe import NewRecipe, new_recipe
from launcher.estimate.target_facts import template_target
from launcher.recipe.catalogue import Catalogue, Order, read_catalogue
from launcher.recipe.dataset import describe
from launcher.recipe.template_folders import template_folders
from launcher.recipe.way import Way, ways
from launcher.show.family_table import render_families
from runtime.config.load import Checked, check_text
from runtime.config.problem import ExitCode, UserError

GOLDEN = Path(__file__).resolve().parents[2] / "data" / "families.csv"
GOLDEN_ON_GPUS = GOLDEN.with_name("families_on_gpus.csv")
TARGETS = ("T4:1", "L40S:1", "H100:8")
SHIPPED = read_catalogue(template_folders(environment={}))
EVERY = [
    (family, size, method) for family, facts in SHIPPED.families.items() for size in facts.sizes for method in facts.sizes[size].methods
]


def order(family: str, size: str, method: str, gpus: str | None = None) -> Order:
    return Order(
        family=family,
        size=size,
        method=method,
        dataset=describe(None, text_only=method == "pretrain"),
        dataset_given=False,
        schema="recipe.schema.json",
        target=template_target(gpus),
        variables={},
    )


def made(family: str, size: str, method: str, *sets: str, gpus: str | None = None, catalogue: Catalogue = SHIPPED) -> NewRecipe:
    hardware = cards(parse_gpus(gpus)) if gpus else None
    return new_recipe(catalogue, order(family, size, method, gpus), sets=sets, hardware=hardware)


def estimate_of(recipe: NewRecipe) -> Estimate:
    assert recipe.estimate is not None
    return recipe.estimate


def test_every_family_size_and_method_needs_what_the_golden_table_says() -> None:
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\n")
    table.writerow(("family", "size", "method", "model", "per_gpu_gib", "smallest_gpu"))
    found = list(needs(SHIPPED, tuple(SHIPPED.families)))
    for need in found:
        table.writerow((need.family, need.size, need.method, *(need.to_json()[key] for key in ("model", "per_gpu_gib", "smallest_gpu"))))
    if os.environ.get("LAUNCHER_GOLDEN") == "write":
        GOLDEN.write_text(out.getvalue(), encoding="utf-8")
    assert out.getvalue() == GOLDEN.read_text(encoding="utf-8")
    assert [(need.family, need.size, need.method) for need in found] == EVERY


@pytest.mark.parametrize(("family", "size"), [(family, size) for family, facts in SHIPPED.families.items() for size in facts.sizes])
def test_facts_agree_with_the_shipped_shapes(family: str, size: str) -> None:
    facts = SHIPPED.families[family].facts(size)
    models = [model for model in (facts["instruct"], facts["base"]) if model]
    shapes = [known_config(model) for model in models]
    assert None not in shapes, "every model's shape is in launcher/data/models.json"
    assert all(shape == shapes[0] for shape in shapes), "instruct and base are one size"


@pytest.mark.parametrize(("family", "size", "method"), EVERY)
def test_rendered_recipe_is_readable_and_warns_of_nothing(family: str, size: str, method: str) -> None:
    recipe = made(family, size, method)
    lines = recipe.text.splitlines()
    assert lines[0] == "# yaml-language-server: $schema=recipe.schema.json"
    assert recipe.warnings == ()
    assert max(map(len, lines)) <= 200
    assert not any(line != line.rstrip() or "{{" in line or "None" in line for line in lines)
    assert "\n\n\n" not in recipe.text
    config = recipe.config
    assert (config.adapter, bool(config.load_in_4bit)) == {"lora": ("lora", False), "qlora": ("qlora", True)}.get(method, (None, False))
    assert (config.micro_batch_size or 0) * (config.gradient_accumulation_steps or 0) == 16


def test_on_a_gpu_the_batch_is_the_largest_that_fits_and_the_step_stays_as_large() -> None:
    small, large = (made("qwen-2.5", "7b", "qlora", gpus=gpus) for gpus in ("L4:1", "H100:1"))
    assert (small.config.micro_batch_size or 0) < (large.config.micro_batch_size or 0) <= 16
    for recipe in (small, large):
        assert (recipe.config.micro_batch_size or 0) * (recipe.config.gradient_accumulation_steps or 0) == 16
        assert estimate_of(recipe).memory.verdict == "fits"
    several = made("qwen-2.5", "0.5b", "lora", gpus="H100:8").config
    assert (several.micro_batch_size or 0) * (several.gradient_accumulation_steps or 0) * 8 == 16
    assert several.launch.gpus == "H100:8"


def test_families_are_made_for_gpus_as_the_golden_table_says() -> None:
    """How each is trained on a small GPU, a middling one and several large ones: rows at a time and what saves memory; or the smallest that would hold it."""
    writes = os.environ.get("LAUNCHER_GOLDEN") == "write"
    rows = EVERY if writes or os.environ.get("LONG_TESTS") else EVERY[::10]
    made_now = [",".join((*row, *(on_gpus(*row, gpus) for gpus in TARGETS))) for row in rows]
    if writes:
        GOLDEN_ON_GPUS.write_text("\n".join([",".join(("family", "size", "method", *TARGETS)), *made_now]) + "\n", encoding="utf-8")
    header, *golden = GOLDEN_ON_GPUS.read_text(encoding="utf-8").splitlines()
    assert header == ",".join(("family", "size", "method", *TARGETS))
    assert [tuple(line.split(",")[:3]) for line in golden] == EVERY
    assert made_now == [line for line in golden if tuple(line.split(",")[:3]) in rows]


def on_gpus(family: str, size: str, method: str, gpus: str) -> str:
    try:
        recipe = made(family, size, method, gpus=gpus)
    except UserError as error:
        found = re.search(r"The smallest that holds it is (\S+)\.", str(error))
        return f"needs {found[1]}" if found is not None else "needs more than one machine"
    memory = estimate_of(recipe).memory
    assert memory.verdict != "does-not-fit"
    # What the comments say is what the estimate of the written recipe says.
    assert f"about {memory.held.value:.0f} of the {memory.capacity_gib:.0f} GiB" in recipe.text
    savings = [name for name in ("chunked_loss", "offloaded_activations", "sharded", "offloaded") if getattr(recipe.way, name)]
    tight = " tight" if memory.verdict == "tight" else ""
    return " ".join([f"{recipe.config.micro_batch_size} rows{tight}", *(["with", *savings] if savings else [])])


def test_a_model_too_large_for_the_gpus_is_refused_with_what_would_do() -> None:
    with pytest.raises(UserError) as caught:
        made("qwen-3", "32b", "full", gpus="H100:1")
    (problem,) = caught.value.problems
    assert (problem.code, problem.place, caught.value.exit_code) == ("does-not-fit", "--gpus 1×H100", ExitCode.REFUSED)
    assert "one of these has 79.2" in problem.message
    assert "The smallest that holds it is H200:1." in problem.fix
    assert "`--method lora` fits, and so does qlora" in problem.fix
    # What it offers is true.
    for method, gpus in (("full", "H200:1"), ("lora", "H100:1"), ("qlora", "H100:1")):
        assert estimate_of(made("qwen-3", "32b", method, gpus=gpus)).memory.verdict != "does-not-fit"
    with pytest.raises(UserError, match=r"its shards would take 1,051 GiB of host memory") as caught:
        made("llama-3", "70b", "full", gpus="A100:2")
    with pytest.raises(UserError, match=r"has 22\.1") as caught:
        made("llama-3", "70b", "pretrain", gpus="A10G:1")
    assert "--method" not in caught.value.problems[0].fix, "other methods learn from other data"


def test_memory_is_saved_where_it_costs_time_alone_and_only_when_it_must_be() -> None:
    roomy, close = made("qwen-3", "8b", "qlora", gpus="L40S:1"), made("qwen-3", "14b", "qlora", gpus="RTXA4000:1")
    assert (roomy.config.chunked_cross_entropy, roomy.config.gradient_checkpointing) == (None, True)
    assert close.config.chunked_cross_entropy is True
    assert "plainly it would be" in close.text
    assert "plainly it would be" not in roomy.text


def test_what_the_user_sets_is_what_is_fitted() -> None:
    short = made("qwen-3", "32b", "qlora", "sequence_len=512", gpus="RTX4090:1")
    assert estimate_of(short).memory.held.value < estimate_of(made("qwen-3", "32b", "qlora", gpus="RTX4090:1")).memory.held.value
    kept = made("qwen-3", "8b", "qlora", "micro_batch_size=2", gpus="H100:1").config
    assert (kept.micro_batch_size, kept.gradient_accumulation_steps) == (2, 8)
    single = made("qwen-3", "8b", "qlora", "micro_batch_size=1", gpus="H100:1").config
    assert (single.micro_batch_size, single.gradient_accumulation_steps) == (1, 16)
    # What may just fit is left as it was asked for, and the rows of a step stay as many.
    close = made("qwen-3", "8b", "lora", "micro_batch_size=2", gpus="RTX4090:1").config
    assert (close.micro_batch_size, close.gradient_accumulation_steps) == (2, 8)


@pytest.mark.parametrize(
    ("family", "size", "method"), [("qwen-3", "32b", "full"), ("llama-3", "70b", "qlora"), ("mixtral", "8x7b", "pretrain")]
)
@pytest.mark.parametrize("offloaded", [False, True])
def test_state_spread_over_gpus_is_written_and_valid(family: str, size: str, method: str, offloaded: bool) -> None:
    text = SHIPPED.render(order(family, size, method, "H100:8"), micro_batch=1, way=Way(sharded=True, offloaded=offloaded))
    checked = check_text(text, file="r.yml")
    config = checked.config
    assert config is not None, checked.errors
    assert checked.warnings == ()
    assert (config.fsdp_version, config.optimizer) == (2, "adamw_torch_fused")
    assert config.fsdp_config is not None
    assert bool(config.fsdp_config.offload_params) is offloaded
    # A base in 4 bit is packed by every process; any other is read once.
    assert bool(config.fsdp_config.cpu_ram_efficient_loading) is (method != "qlora")
    assert ("16 bytes a weight" in text) is (method in ("full", "pretrain"))
    assert "spread over the 8 GPUs" in text


def test_sharding_is_taken_where_whole_copies_do_not_fit() -> None:
    wanted, hardware = order("qwen-3", "32b", "full", "H100:8"), cards(parse_gpus("H100:8"))

    def written(way: Way) -> Checked:
        return check_text(SHIPPED.render(wanted, micro_batch=1, way=way), file="r.yml")

    choice = chosen_way(written, find_model("Qwen/Qwen3-32B"), hardware)
    assert choice.taken is not None
    assert choice.taken.way.sharded
    assert choice.taken.holds
    assert [found.way for found in choice.tried] == list(ways(8))[: len(choice.tried)]
    assert not any(way.sharded for way in ways(1)), "one GPU has nobody to share with"


def test_values_are_written_into_the_recipe_and_what_is_wrong_with_them_is_said_of_them() -> None:
    recipe = made("smollm", "135m", "lora", "lora_r=4", "wandb_project=mine", "learning_rate=3e-4", "launch.name=first")
    assert (recipe.config.lora_r, recipe.config.wandb_project, recipe.config.learning_rate) == (4, "mine", 3e-4)
    assert recipe.config.launch.name == "first"
    assert "# The model stays frozen" in recipe.text
    assert "\nlora_r: 4\n" in recipe.text
    with pytest.raises(UserError) as caught:
        made("smollm", "135m", "lora", "lora_alhpa=4")
    assert [(problem.code, problem.where) for problem in caught.value.problems] == [("unknown-key", "--set lora_alhpa=4")]


@pytest.mark.parametrize(
    ("words", "place", "said"),
    [
        (("lama-3", "8b", "lora"), "FAMILY", "did you mean 'llama-3'"),
        (("llama-3", "9b", "lora"), "--size", "there is no size of llama-3 '9b'"),
        (("llama-3", "8b", "qlor"), "--method", "did you mean 'qlora'"),
        (("mixtral", "8x7b", "qlora"), "--method", "there is no method for mixtral 8x7b 'qlora'"),
    ],
)
def test_names_that_are_not_there_are_refused_with_those_that_are(words: tuple[str, str, str], place: str, said: str) -> None:
    with pytest.raises(UserError) as caught:
        made(*words)
    problem = caught.value.problems[0]
    assert (problem.code, problem.place) == ("unknown-name", place)
    assert said in problem.message
    assert problem.fix.startswith("One of ")


def test_a_folder_of_ones_own_adds_families_and_methods_and_builds_on_the_shipped_ones(tmp_path: Path) -> None:
    (tmp_path / "families").mkdir()
    (tmp_path / "families" / "house.yml").write_text(
        "title: House\nlicence: ours\nsizes:\n  s:\n    base: org/unknown\n    context: 1024\n    methods:\n"
        "      dora: {learning_rate: 0.0001, rank: 8, batch: 4}\n      lora: {learning_rate: 0.0001, rank: 8, sequence_len: 512, batch: 4}\n"
    )
    (tmp_path / "dora.yml.jinja").write_text(
        '{% extends "lora.yml.jinja" %}\n{% block method %}\n{{ super() }}\npeft_use_dora: {{ wanted }}\n{% endblock %}\n'
    )
    (tmp_path / "lora.yml.jinja").write_text(
        '{% extends "shipped/lora.yml.jinja" %}\n{% block schedule %}\nlr_scheduler: linear\nwarmup_steps: 3\n{% endblock %}\n'
    )
    catalogue = read_catalogue(template_folders(tmp_path, environment={}))
    assert {"house", "llama-3"} <= set(catalogue.families)
    wanted = order("house", "s", "dora")
    text = catalogue.render(Order(**{name: getattr(wanted, name) for name in Order.__slots__} | {"variables": {"wanted": True}}))
    assert "peft_use_dora: True" in text
    assert "lr_scheduler: linear\nwarmup_steps: 3" in text
    config = made("house", "s", "lora", catalogue=catalogue).config
    assert (config.sequence_len, config.lora_alpha, config.lr_scheduler, config.micro_batch_size) == (512, 16, "linear", 1)
    assert config.base_model == "org/unknown"
    # One has a model of unknown shape, the other a variable that only `launcher new` is given.
    assert [(need.method, need.per_gpu_gib, need.smallest) for need in needs(catalogue, ("house",))] == [
        ("dora", None, None),
        ("lora", None, None),
    ]


def test_a_facts_file_with_mistakes_names_each_of_them(tmp_path: Path) -> None:
    (tmp_path / "families").mkdir()
    file = tmp_path / "families" / "bad.yml"
    file.write_text("title: Bad\nsizes:\n  s: {base: a/b, context: 0, methods: {lora: {learning_rate: 0.1, rnak: 3}}}\n")
    with pytest.raises(UserError) as caught:
        read_catalogue((tmp_path,))
    assert {problem.path for problem in caught.value.problems} == {"licence", "sizes.s.context", "sizes.s.methods.lora.rnak"}
    assert {problem.file for problem in caught.value.problems} == {str(file)}


def test_the_table_shows_every_size_and_marks_what_no_gpu_holds() -> None:
    shown = render_families(SHIPPED, list(needs(SHIPPED, ("llama-3", "gpt-oss"))), width=110, color=False)
    lines = shown.splitlines()
    assert lines[0].split() == ["FAMILY", "SIZE", "FULL", "LORA", "QLORA", "PRETRAIN", "LICENCE"]
    row = next(line for line in lines if " 70b " in line)
    assert row.count("*") == 2
    assert "–" in next(line for line in lines if line.startswith("gpt-oss"))
    assert any(line.startswith("* more than any one GPU") for line in lines)
    nothing_large = [Need(family="llama-3", size="8b", method="lora", model="m", per_gpu_gib=None, smallest=None)]
    assert "?" in render_families(SHIPPED, nothing_large, width=110, color=False).splitlines()[1]
