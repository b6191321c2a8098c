"""Names for runs that can be read aloud: an adjective, a noun and three characters."""

# ruff: noqa: SIM905 - a list of words reads better as words

from __future__ import annotations

import random
import re

_ADJECTIVES = (
    "amber bold brave brisk calm clear clever cosy crisp deft eager early fair fleet fresh gentle glad golden happy honest jolly keen kind light "
    "lively lucid lucky merry mild neat nimble noble patient plain proud quick quiet ready silver smart snug sober spry steady sunny swift tidy true vivid warm wise"
).split()
_NOUNS = (
    "acorn aspen badger beech birch brook cedar cliff clover comet coral crane delta dune eagle ember falcon fern finch fjord forest fox garnet glade heron hill "
    "island ivy jay lake lark lily lynx maple marsh meadow moss oak olive otter owl pebble pine plover quartz raven reed river robin sage shore sparrow spruce stone summit swan thrush tiger valley willow wren"
).split()
# No vowels and no look-alikes, so that the three characters form no word and survive handwriting.
_LETTERS = "bcdfghjkmnpqrstvwxz23456789"

# As `launch.name` takes them.
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")


def is_run_name(name: str) -> bool:
    """Whether a run can be called so."""
    return _NAME.fullmatch(name) is not None


def random_name(source: random.Random | None = None) -> str:
    """A run name such as `calm-otter-x7k`; about 60 million of them."""
    source = source or random.SystemRandom()
    return f"{source.choice(_ADJECTIVES)}-{source.choice(_NOUNS)}-{''.join(source.choices(_LETTERS, k=3))}"
