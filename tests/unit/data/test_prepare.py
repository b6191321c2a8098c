"""From rows to prepared rows: counts, order, splits, packing, and the cache."""

from __future__ import annotations

import copy
import json
import multiprocessing
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest

from runtime.config.problem import UserError
from runtime.data.prepare import prepare

pytestmark = pytest.mark.train


def chat(*contents: str) -> dict[str, Any]:
    return {"messages": [{"role": ("user", "assistant")[index % 2], "content": content} for index, content in enumerate(contents)]}


def rows_of(prepared: Any) -> list[list[int]]:
    return [row.tolist() for row in prepared.train["input_ids"]]


def decoded(tokenizer: Any, prepared: Any) -> list[str]:
    return [tokenizer.decode(row) for row in prepared.train["input_ids"]]


TALKS = [chat(f"question {number}", "hello " * (1 + number % 5)) for number in range(40)]


def test_each_row_is_one_sample_in_source_order(recipe, write_rows, tokenizer):
    write_rows(TALKS)
    prepared = prepare(recipe(), tokenizer)
    assert [text.split("\n")[1].split("<")[0] for text in decoded(tokenizer, prepared)] == [f"question {number}" for number in range(40)]
    assert prepared.train.column_names == ["input_ids", "labels", "attention_mask", "position_ids"]
    report = prepared.report
    assert (report.rows_in, report.rows_out, report.dropped) == (40, 40, {})
    assert report.tokens == sum(len(row) for row in prepared.train["input_ids"])
    assert report.supervised_tokens == sum(int((row != -100).sum()) for row in prepared.train["labels"])
    assert report.packed_rows is None
    assert datasets.load_from_disk(str(prepared.path)).num_rows == 40


def test_what_is_dropped_is_counted_by_reason(recipe, write_rows, tokenizer):
    write_rows([chat("hi", "hello"), chat("hi", "hello " * 100), {"messages": [{"role": "user", "content": "alone"}]}, chat("hi", "hello")])
    report = prepare(recipe(dataset_exact_deduplication=True), tokenizer).report
    assert (report.rows_in, report.rows_out) == (4, 1)
    assert report.dropped == {"duplicate": 1, "nothing_trained": 1, "too_long": 1}


def test_long_samples_can_be_cut_or_refused(recipe, write_rows, tokenizer):
    write_rows([chat("hi", "hello"), chat("hi", "hello " * 100)])
    cut = prepare(recipe(excess_length_strategy="truncate"), tokenizer)
    assert [len(row) for row in rows_of(cut)][1] == 64
    assert cut.report.longest == 64
    with pytest.raises(UserError, match="1 samples are longer than sequence_len"):
        prepare(recipe(excess_length_strategy="raise"), tokenizer)


def test_a_sample_cut_before_its_answer_has_nothing_trained(recipe, write_rows, tokenizer):
    write_rows([chat("hi", "hello"), chat("hi " * 100, "hello")])
    assert prepare(recipe(excess_length_strategy="truncate"), tokenizer).report.dropped == {"nothing_trained": 1}


def test_nothing_left_says_why(recipe, write_rows, tokenizer):
    write_rows([chat("hi", "hello " * 100)] * 3)
    with pytest.raises(UserError, match=r"nothing is left to train on: of 3 rows, 3 too long(.|\n)*raise sequence_len"):
        prepare(recipe(), tokenizer)


@pytest.mark.parametrize(("size", "count"), [(0.25, 10), (7, 7), (0.001, 1)])
def test_a_part_is_set_aside_the_same_way_every_time(recipe, write_rows, tokenizer, tmp_path, size, count):
    write_rows(TALKS)
    first = prepare(recipe(val_set_size=size), tokenizer)
    again = prepare(recipe(val_set_size=size, dataset_prepared_path=str(tmp_path / "elsewhere")), tokenizer)
    other = prepare(recipe(val_set_size=size, seed=7), tokenizer)
    assert (len(first.train), len(first.validation)) == (40 - count, count)
    held = [row.tolist() for row in first.validation["input_ids"]]
    assert held == [row.tolist() for row in again.validation["input_ids"]]
    assert held != [row.tolist() for row in other.validation["input_ids"]]
    assert sorted(rows_of(first) + held) == sorted(rows_of(prepare(recipe(), tokenizer)))


def test_setting_everything_aside_is_refused(recipe, write_rows, tokenizer):
    write_rows(TALKS)
    with pytest.raises(UserError, match="leaves nothing to train on"):
        prepare(recipe(val_set_size=40), tokenizer)


def test_test_datasets_are_the_evaluation_rows_and_never_trained_ones(recipe, write_rows, tokenizer, tmp_path):
    write_rows(TALKS)
    write_rows([TALKS[0], chat("new", "hello")], "test.jsonl")
    test = [{"path": str(tmp_path / "test.jsonl"), "type": "chat_template"}]
    assert len(prepare(recipe(test_datasets=test), tokenizer).validation) == 2
    assert len(prepare(recipe(test_datasets=test, dataset_exact_deduplication=True), tokenizer).validation) == 1


def test_shuffling_is_the_default_and_follows_the_seed(recipe, write_rows, tokenizer):
    write_rows(TALKS)
    plain, one, same, two = (
        rows_of(prepare(recipe(**options), tokenizer))
        for options in (
            {},
            {"shuffle_merged_datasets": True},
            {"shuffle_merged_datasets": None},
            {"shuffle_merged_datasets": True, "seed": 1},
        )
    )
    assert one == same
    assert plain != one != two
    assert sorted(plain) == sorted(one) == sorted(two)


def test_sources_can_be_shuffled_before_they_are_joined(recipe, write_rows, tokenizer, tmp_path):
    write_rows(TALKS[:20])
    write_rows(TALKS[20:], "more.jsonl")
    sources = [{"path": str(tmp_path / name), "type": "chat_template"} for name in ("rows.jsonl", "more.jsonl")]
    joined = rows_of(prepare(recipe(datasets=sources), tokenizer))
    shuffled = rows_of(prepare(recipe(datasets=sources, shuffle_before_merging_datasets=True), tokenizer))
    assert shuffled[:20] != joined[:20]
    assert sorted(shuffled[:20]) == sorted(joined[:20])


def test_shards_take_a_part(recipe, write_rows, tokenizer, tmp_path):
    write_rows(TALKS)
    quarter = [{"path": str(tmp_path / "rows.jsonl"), "type": "chat_template", "shards": 4, "shards_idx": 1}]
    assert len(prepare(recipe(datasets=quarter), tokenizer).train) == 10
    assert len(prepare(recipe(dataset_shard_num=8, dataset_shard_idx=3), tokenizer).train) == 5


def test_packed_rows_hold_every_sample_with_positions_from_zero(recipe, write_rows, tokenizer):
    write_rows(TALKS)
    single, packed = prepare(recipe(), tokenizer), prepare(recipe(sample_packing=True), tokenizer)
    found = []
    for row in packed.train:
        assert len(row["input_ids"]) <= 64
        starts = np.flatnonzero(row["position_ids"] == 0)
        for start, end in zip(starts, [*starts[1:], len(row["input_ids"])], strict=True):
            assert row["position_ids"][start:end].tolist() == list(range(end - start))
            found.append(row["input_ids"][start:end].tolist())
    assert sorted(found) == sorted(rows_of(single))
    assert packed.report.packed_rows == len(packed.train) < 40
    assert packed.report.packing_efficiency == pytest.approx(packed.report.tokens / (len(packed.train) * 64), abs=1e-4)


def test_no_sample_is_predicted_from_the_one_before_it(recipe, write_rows, tokenizer, tmp_path):
    write_rows([{"text": f"one two three {number}"} for number in range(30)])
    source = [{"path": str(tmp_path / "rows.jsonl"), "type": "completion"}]
    packed = prepare(recipe(datasets=source, sample_packing=True), tokenizer)
    for row in packed.train:
        starts = np.flatnonzero(row["position_ids"] == 0)[1:]
        assert (row["labels"][starts] == -100).all()
        assert (np.delete(row["labels"], starts) != -100).all()


def test_evaluation_rows_are_packed_as_the_recipe_says(recipe, write_rows, tokenizer):
    write_rows(TALKS)
    assert len(prepare(recipe(sample_packing=True, val_set_size=20), tokenizer).validation) < 20
    assert len(prepare(recipe(sample_packing=True, eval_sample_packing=False, val_set_size=20), tokenizer).validation) == 20


def test_evaluation_rows_have_a_length_of_their_own(recipe, write_rows, tokenizer):
    write_rows(TALKS)
    lengths = [len(row) for row in prepare(recipe(val_set_size=20), tokenizer).validation["input_ids"]]
    limit = sorted(lengths)[10]
    short = prepare(recipe(val_set_size=20, eval_sequence_len=limit), tokenizer)
    assert sorted(len(row) for row in short.validation["input_ids"]) == sorted(length for length in lengths if length <= limit)
    assert short.report.dropped == {"too_long": sum(length > limit for length in lengths)}
    cut = prepare(recipe(val_set_size=20, eval_sequence_len=limit, excess_length_strategy="truncate"), tokenizer)
    assert max(len(row) for row in cut.validation["input_ids"]) == limit


def test_long_texts_are_cut_into_samples(recipe, write_rows, tokenizer, tmp_path):
    write_rows([{"body": "hello there friend " * 60}])
    prepared = prepare(recipe(datasets=[{"path": str(tmp_path / "rows.jsonl"), "type": "completion", "field": "body"}]), tokenizer)
    whole = [token for row in rows_of(prepared) for token in row]
    assert [len(row) for row in rows_of(prepared)][:2] == [64, 64]
    assert tokenizer.decode(whole) == "hello there friend " * 60 + "<|im_end|>"


def test_ready_tokens_are_taken_as_they_are(recipe, write_rows, tokenizer, tmp_path):
    write_rows([{"input_ids": [5, 6, 7], "labels": [-100, 6, 7]}])
    source = {"path": str(tmp_path / "rows.jsonl")}
    prepared = prepare(recipe(datasets=[source]), tokenizer)
    assert (rows_of(prepared), prepared.train["labels"][0].tolist()) == ([[5, 6, 7]], [-100, 6, 7])
    write_rows([{"input_ids": [5, 100_000], "labels": [5, 6]}])
    with pytest.raises(UserError, match=r"datasets\[0\], row 1: has token ids 5 to 100000"):
        prepare(recipe(datasets=[source]), tokenizer)


def test_prepared_rows_are_found_again_by_content(recipe, write_rows, tokenizer, tmp_path):
    file = write_rows(TALKS)
    first = prepare(recipe(), tokenizer)
    assert not first.report.cached
    file.rename(tmp_path / "moved.jsonl")
    moved = [{"path": str(tmp_path / "moved.jsonl"), "type": "chat_template"}]
    again = prepare(recipe(datasets=moved), tokenizer)
    assert again.report.cached
    assert again.path == first.path
    assert again.report.tokens == first.report.tokens


@pytest.mark.parametrize(
    "options", [{"sequence_len": 48}, {"train_on_inputs": True}, {"chat_template": "llama3"}, {"seed": 3}, {"sample_packing": True}]
)
def test_what_the_rows_depend_on_makes_them_anew(recipe, write_rows, tokenizer, options):
    write_rows(TALKS)
    grown = copy.deepcopy(tokenizer)
    grown.add_tokens(["<|eot_id|>", "<|start_header_id|>"])
    paths = [prepare(recipe(), tokenizer).path, prepare(recipe(), grown).path, prepare(recipe(**options), grown).path]
    assert len(set(paths)) == 3


def test_changed_rows_are_prepared_anew(recipe, write_rows, tokenizer):
    write_rows(TALKS)
    first = prepare(recipe(), tokenizer)
    write_rows(TALKS[:-1])
    assert prepare(recipe(), tokenizer).path != first.path


def test_a_failure_or_a_kill_leaves_no_half_prepared_rows(recipe, write_rows, tokenizer, tmp_path, monkeypatch):
    write_rows(TALKS)

    def killed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("runtime.data.prepare.write_rows", killed)
        with pytest.raises(KeyboardInterrupt):
            prepare(recipe(), tokenizer)
    root = tmp_path / "prepared"
    assert [entry.name for entry in root.iterdir() if not entry.name.endswith(".lock")] == []
    key = next(root.glob("*.lock")).name.removeprefix(".").removesuffix(".lock")
    (root / f".{key}.building-dead").mkdir()
    prepared = prepare(recipe(), tokenizer)
    assert [entry.name for entry in root.iterdir() if not entry.name.endswith(".lock") and not entry.name.startswith(".recipe-")] == [key]
    assert prepared.path.parent.name == key


def test_an_unwritable_folder_is_named(recipe, write_rows, tokenizer, tmp_path):
    write_rows(TALKS)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="dataset_prepared_path"):
        prepare(recipe(dataset_prepared_path=str(tmp_path / "file" / "below")), tokenizer)


def _prepare_in_child(folder: str, options: dict[str, Any], queue: Any) -> None:
    from transformers import AutoTokenizer

    from runtime.config.schema import TrainingConfig

    queue.put(prepare(TrainingConfig.model_validate(options), AutoTokenizer.from_pretrained(folder)).report.cached)


def test_two_processes_at_once_build_it_once(recipe, write_rows, tokenizer_folder):
    write_rows(TALKS)
    options = json.loads(recipe().model_dump_json(exclude_unset=True))
    # A fork of a process that has run torch's and the tokenizer's threads can hang on a lock one of them held.
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    children = [context.Process(target=_prepare_in_child, args=(str(tokenizer_folder), options, queue)) for _ in range(2)]
    for child in children:
        child.start()
    assert sorted(queue.get(timeout=300) for _ in children) == [False, True]
    for child in children:
        child.join(timeout=60)
        assert child.exitcode == 0


def test_several_processes_give_the_same_rows_and_whole_errors(recipe, write_rows, tokenizer, tmp_path):
    write_rows(TALKS)
    one = rows_of(prepare(recipe(dataset_num_proc=1), tokenizer))
    two = rows_of(prepare(recipe(dataset_num_proc=2, dataset_prepared_path=str(tmp_path / "two")), tokenizer))
    assert one == two
    write_rows([*TALKS, {"messages": []}])
    with pytest.raises(UserError, match=r"datasets\[0\], row 41: `messages` must be a list") as caught:
        prepare(recipe(dataset_num_proc=2), tokenizer)
    assert caught.value.problems[0].code == "bad-row"


def test_progress_is_told_and_ends_whole(recipe, write_rows, tokenizer):
    write_rows(TALKS)
    told: list[tuple[str, int, int]] = []
    prepare(recipe(), tokenizer, progress=lambda *step: told.append(step))
    assert ("tokenize", 40, 40) in told
    assert told[-1] == ("pack", 40, 40)


def test_the_command_gives_the_object_of_the_contract(recipe, write_rows, capsys):
    from runtime.data.preprocess import preprocess

    write_rows(TALKS)
    data = preprocess(recipe(sample_packing=True), True)
    assert capsys.readouterr().out == ""
    assert {
        "prepared_path",
        "rows_in",
        "rows_out",
        "dropped",
        "tokens",
        "supervised_tokens",
        "packed_rows",
        "packing_efficiency",
        "seconds",
    } <= set(data)
    assert set(data["seconds"]) == {"load", "tokenize", "pack", "total"}
    assert Path(data["prepared_path"]).is_absolute()
    json.dumps(data)
    preprocess(recipe(sample_packing=True), False)
    shown = capsys.readouterr().out
    assert "«hello" in shown
    assert "40 to train on" in shown


def test_debug_shows_samples_token_by_token(recipe, write_rows, capsys):
    from runtime.data.preprocess import preprocess

    write_rows(TALKS)
    preprocess(recipe(sample_packing=True), False)
    assert "token, label, text" not in capsys.readouterr().out
    preprocess(recipe(sample_packing=False, debug=True), False)
    shown = capsys.readouterr().out
    assert shown.count("token, label, text") == 5
    lines = [line.split() for line in shown.splitlines()]
    assert [line[1] for line in lines if line[2:] == ["'user'"]] == ["-"] * 5
    assert any(len(line) > 2 and line[0] == line[1] and "hello" in line[2] for line in lines)


def test_a_weight_keeps_a_share_of_one_dataset_and_leaves_the_others(recipe, write_rows, tokenizer, tmp_path):
    paths = [write_rows([chat(f"{name} {number}", "hello") for number in range(50)], f"{name}.jsonl") for name in ("large", "small")]

    def kept(weight: float | None, seed: int = 1) -> list[str]:
        sets = [{"path": str(path), "type": "chat_template"} for path in paths]
        sets[0]["weight"] = weight
        return [text.split("\n")[1].split("<")[0] for text in decoded(tokenizer, prepare(recipe(datasets=sets, seed=seed), tokenizer))]

    everything = kept(None)
    assert len(everything) == 100
    assert kept(1.0) == everything
    some = kept(0.1)
    assert some[5:] == everything[50:]
    numbers = [int(text.split()[1]) for text in some[:5]]
    assert numbers == sorted(set(numbers))
    assert all(text.startswith("large") for text in some[:5])
    assert kept(0.1) == some
    assert kept(0.1, seed=2) != some
    assert len(kept(0.001)) == 51
