"""A misspelt name finds the one that was meant."""

from __future__ import annotations

import random
import string

import pytest

from runtime.config.schema import TrainingConfig
from runtime.config.spelling import nearest


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("learnng_rate", "learning_rate"),
        ("lora_alhpa", "lora_alpha"),
        ("auto_resume_from_checkpoint", "auto_resume_from_checkpoints"),
        ("micro-batch-size", "micro_batch_size"),
        ("Learning_Rate", "learning_rate"),
        ("f16", "fp16"),
        ("gradient_accumulaton_step", "gradient_accumulation_steps"),
    ],
)
def test_known_slips(word: str, meant: str) -> None:
    assert nearest(word, TrainingConfig.model_fields) == meant


@pytest.mark.parametrize("word", ["zebra", "q", "my_own_option_name"])
def test_a_word_near_nothing_finds_nothing(word: str) -> None:
    assert nearest(word, TrainingConfig.model_fields) is None


def test_single_character_slips_find_the_meant_name_in_98_of_100() -> None:
    names = list(TrainingConfig.model_fields)
    chance = random.Random(7)
    right = asked = 0
    for _ in range(1000):
        name = chance.choice(names)
        slip = _slip(name, chance)
        if slip in TrainingConfig.model_fields or slip == name:
            continue
        asked += 1
        right += nearest(slip, names) == name
    assert asked > 950
    assert right / asked >= 0.98, f"{right} of {asked}"


def _slip(name: str, chance: random.Random) -> str:
    at = chance.randrange(len(name))
    letter = chance.choice(string.ascii_lowercase)
    match chance.randrange(4):
        case 0:
            return name[:at] + name[at + 1 :]
        case 1:
            return name[:at] + letter + name[at:]
        case 2:
            return name[:at] + letter + name[at + 1 :]
        case _:
            return name[:at] + name[at + 1 : at + 2] + name[at : at + 1] + name[at + 2 :]
