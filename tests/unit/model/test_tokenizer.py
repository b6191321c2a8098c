"""The tokenizer as a recipe wants it, and the tokenizers that are refused."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from runtime.config.problem import UserError
from runtime.config.schema import TrainingConfig
from runtime.model.tokenizer import check_round_trip, load_tokenizer

pytestmark = pytest.mark.train


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A byte-level tokenizer without a pad token, with two reserved tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.BPE())
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    marks = ["<|endoftext|>", "<|reserved_0|>", "<|reserved_1|>"]
    made.train_from_iterator(
        ["some words"], trainers.BpeTrainer(special_tokens=marks, initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    )
    folder = tmp_path_factory.mktemp("tokenizer")
    PreTrainedTokenizerFast(tokenizer_object=made, eos_token="<|endoftext|>").save_pretrained(folder)
    return folder


def recipe(folder: Path, **options: Any) -> Any:
    fixed = {
        "base_model": str(folder),
        "datasets": [{"path": "x"}],
        "learning_rate": 1e-3,
        "micro_batch_size": 1,
        "num_epochs": 1,
        "output_dir": "x",
    }
    return TrainingConfig.model_validate(fixed | options)


def test_it_pads_on_the_right_with_a_token_it_has(folder):
    tokenizer = load_tokenizer(recipe(folder))
    assert (tokenizer.padding_side, tokenizer.pad_token) == ("right", "<|endoftext|>")


def test_tokens_of_the_recipe_are_added_as_single_tokens(folder):
    tokenizer = load_tokenizer(
        recipe(
            folder, tokens=["<tool>"], special_tokens={"pad_token": "<pad>", "eos_token": "<end>", "additional_special_tokens": ["<mark>"]}
        )
    )
    assert (tokenizer.pad_token, tokenizer.eos_token) == ("<pad>", "<end>")
    assert all(len(tokenizer.encode(token)) == 1 for token in ("<tool>", "<pad>", "<end>", "<mark>"))
    assert len(load_tokenizer(recipe(folder, special_tokens={"pad_token": "<|reserved_0|>"}))) == len(load_tokenizer(recipe(folder)))


def test_the_template_of_the_recipe_is_kept_with_it(folder, tmp_path):
    load_tokenizer(recipe(folder, chat_template="chatml", tokens=["<|im_start|>", "<|im_end|>"])).save_pretrained(tmp_path)
    again = load_tokenizer(recipe(tmp_path))
    assert again.apply_chat_template([{"role": "user", "content": "hi"}], tokenize=False) == "<|im_start|>user\nhi<|im_end|>\n"


def test_reserved_tokens_get_new_texts_and_keep_their_ids(folder, tmp_path):
    tokenizer = load_tokenizer(recipe(folder, added_tokens_overrides={1: "<think>"}))
    tokenizer.save_pretrained(tmp_path)
    for made in (tokenizer, load_tokenizer(recipe(tmp_path))):
        assert made.encode("<think>") == [1]
        assert made.decode([1]) == "<think>"
        assert len(made) == len(load_tokenizer(recipe(folder)))
    with pytest.raises(UserError, match=r"token 99, which is not an added token(.|\n)*its added tokens are 0-2"):
        load_tokenizer(recipe(folder, added_tokens_overrides={99: "<x>"}))


@pytest.mark.parametrize(
    ("options", "told", "exit_code"),
    [
        ({"base_model": "/nowhere/model"}, "no folder /nowhere/model", 2),
        ({"tokenizer_config": "nobody/nothing"}, r"nobody/nothing(.|\n)*the Hugging Face Hub cannot be reached", 8),
        ({"tokenizer_type": "NoSuchTokenizer"}, "no tokenizer class 'NoSuchTokenizer'", 2),
    ],
)
def test_a_tokenizer_that_cannot_be_had_is_said(folder, options, told, exit_code):
    with pytest.raises(UserError, match=told) as caught:
        load_tokenizer(recipe(folder, **options))
    assert caught.value.exit_code == exit_code


def test_a_tokenizer_that_loses_spaces_is_refused():
    lossy = SimpleNamespace(encode=lambda text, **_: text.split(), decode=lambda words, **_: "".join(words))
    with pytest.raises(UserError, match=r"'Hellobigworld,howareyou\?'(.|\n)*PreTrainedTokenizerFast"):
        check_round_trip(lossy, "some/model")


def test_a_tokenizer_that_loses_rare_characters_is_only_warned_about(caplog):
    plain = SimpleNamespace(encode=lambda text, **_: text.encode("ascii", "ignore"), decode=lambda data, **_: data.decode())
    check_round_trip(plain, "some/model")
    assert "does not give back every character" in caplog.text
