"""Texts that no recipe should be: each ends in a problem with its line, quickly, and none in an exception or a dead process."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.config.load import check_text, load_config
from runtime.config.problem import UserError

BASE = "base_model: org/model\nlearning_rate: 1e-5\ndatasets: [{path: rows.jsonl, type: alpaca}]\n"
HERE = 4  # the line after BASE


def _bomb(step: str, last: str) -> str:
    """Aliases of aliases: ten to the eleventh values in twelve lines."""
    rows = ["optim_args:", "  a0: &a0 " + last]
    rows += [f"  a{level}: &a{level} " + step.format(",".join([f"*a{level - 1}"] * 10)) for level in range(1, 12)]
    return BASE + "\n".join(rows) + "\n"


UNREADABLE = {
    "open brackets": ("[" * 100_000, 1),
    "brackets": (BASE + "optim_args: " + "[" * 3_000 + "]" * 3_000, HERE),
    "braces": (BASE + "optim_args: " + "{a: " * 2_000 + "}" * 2_000, HERE),
    "indentation": ("".join(" " * depth + "a:\n" for depth in range(2_000)), 51),
    "dashes": (BASE + "optim_args:\n  " + "- " * 5_000 + "x\n", HERE + 1),
    "a list of laughs": (_bomb("[{}]", "[x]"), HERE + 1),
    "merged laughs": (_bomb("{{<<: [{}]}}", "{x: 1}"), HERE + 1),
    "an alias in itself": (BASE + "optim_args: &a {b: *a}\n", HERE),
    "a merge into itself": (BASE + "optim_args: &a {b: {<<: *a}}\n", HERE),
    "a merge of a number": (BASE + "<<: 1\n", HERE),
    "a merge of nothing": (BASE + "<<:\n", HERE),
    "5000 digits": (BASE + "seed: " + "9" * 5_000, HERE),
    "more than 64 bits": (BASE + "seed: 9223372036854775808\n", HERE),
    "more than 64 bits in hex": (BASE + "seed: 0x" + "f" * 5_000, HERE),
    "an octal": (BASE + "seed: 010\n", HERE),
    "a key of 5000 digits": (BASE + "optim_args: {" + "9" * 5_000 + ": 1}\n", HERE),
    "a very long key": (BASE + "k" * 100_000 + ": 1\n", HERE),
    "NUL": (BASE + "output_dir: a\0b\n", HERE),
    "an escaped NUL": (BASE + 'output_dir: "a\\0b"\n', HERE),
    "a control character": (BASE + 'output_dir: "\x01"\n', HERE),
    "a form feed": (BASE + "\fseed: 1\n", HERE),
    "half a character": (BASE + "output_dir: \ud800\n", HERE),
    "half a character, escaped": (BASE + 'output_dir: "\\ud800"\n', HERE),
    "UTF-16 read as Latin": (BASE.encode("utf-16").decode("latin-1"), 1),
    "a byte order mark inside": (BASE + "\ufeffseed: 1\n", HERE),
    "tabs": (BASE + "launch:\n\tgpus: A100\n", HERE + 1),
    "a Python object": (BASE + "seed: !!python/object/apply:os.system [ls]\n", HERE),
    "a Python mapping": (BASE + "optim_args: !!python/object:os.stat {a: 1}\n", HERE),
    "a Python name": (BASE + "seed: !!python/name:os.system\n", HERE),
    "a tag of its own": (BASE + "output_dir: !secret x\n", HERE),
    "a tagged recipe": ("!recipe\n" + BASE, 1),
    "a set": (BASE + "optim_args: !!set {a, b}\n", HERE),
    "a tag that does not fit": (BASE + "seed: !!int x\n", HERE),
    "a list as a key": (BASE + "? [a]\n: 2\n", HERE),
    "a template left unfilled": (BASE + "seed: {{ seed }}\n", HERE),
    "an unknown YAML": ("%YAML 3.0\n---\n" + BASE, 1),
    "two documents": (BASE + "---\n" + BASE, HERE),
    "text after the end": (BASE + "...\nseed: 1\n", HERE + 1),
    "a key twice": (BASE + "seed: 1\nseed: 1\n", HERE + 1),
    "an open quote": (BASE + 'seed: "1\n\n', HERE),
    "an open bracket": (BASE + "seed: [1\n\n", HERE),
    "no anchor": (BASE + "seed: *x\n", HERE),
    "an empty file": ("", 1),
    "blank lines": ("\n \n", 1),
    "comments": ("# nothing\n", 1),
    "null": ("~\n", 1),
    "a list": ("- a\n", 1),
    "a word": ("hello\n", 1),
    "a number": ("5", 1),
}

# Read as YAML, and then wrong at its line: (text, code).
WRONG = {
    "sexagesimal": ("seed: 1:30", "wrong-type"),
    "a date": ("seed: 2026-01-01", "wrong-type"),
    "an octal of YAML 1.2": ("seed: 0o10", "wrong-type"),
    "infinity": ("warmup_ratio: .inf", "wrong-type"),
    "not a number": ("weight_decay: .nan", "wrong-type"),
    "infinity by overflow": ("weight_decay: 1e999", "wrong-type"),
    "infinity in quotes": ('weight_decay: "1e999"', "wrong-type"),
    "infinity for a count": ("micro_batch_size: .inf", "wrong-type"),
    "5000 digits in quotes": ('seed: "' + "9" * 5_000 + '"', "wrong-type"),
    "a whole number out of reach": ("seed: 1e300", "wrong-type"),
    "a superscript": ('seed: "²"', "wrong-type"),
    "a superscript as a key": ("max_memory: {²: 1GB}\ndevice_map: auto", "missing"),
    "a number as a key": ("1: 2", "unknown-key"),
    "null as a key": ("~: 2", "unknown-key"),
    "a truth value as a key": ("yes: 2", "unknown-key"),
    "emoji as a key": ("🚀: 2", "unknown-key"),
    "an empty key": ('"": 2', "unknown-key"),
    "a zero-width space": ("se\u200bed: 1", "unknown-key"),
    "colours": ('adapter: "\\e[31mlora"', "unknown-name"),
    "nothing in a list": ("test_datasets: [~]", "wrong-type"),
    "merged": ("<<: {sed: 1}", "unknown-key"),
    "two keys in one": ("optim_args: {1: 2, '1': 3}", "wrong-type"),
}

FINE = {
    "digits in groups": ("seed: 1_000", "seed", 1000),
    "hexadecimal": ("seed: 0x10", "seed", 16),
    "grouped digits in quotes": ('seed: "1_0_"', "seed", 10),
    "many exact digits in quotes": ('seed: "123456789012345678"', "seed", 123456789012345678),
    "a zero before": ("seed: 0", "seed", 0),
    "an exponent": ("weight_decay: 1e-2", "weight_decay", 0.01),
    "unset": ("seed: ~", "seed", None),
    "a date as text": ("output_dir: 2026-01-01", "output_dir", "2026-01-01"),
    "merge": ("<<: {seed: 3}", "seed", 3),
    "emoji": ("output_dir: 🚀", "output_dir", "🚀"),
    "a long line": ("output_dir: " + "x" * 200_000, "output_dir", "x" * 200_000),
    "numbers as keys": ("optim_args: {1: 2}", "optim_args", {"1": 2}),
    "an end mark": ("seed: 3\n...", "seed", 3),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_cannot_be_read_says_where(name: str) -> None:
    text, line = UNREADABLE[name]
    (problem,) = check_text(text, file="r.yml").errors
    assert (problem.code, problem.line) == ("yaml", line), problem
    assert len(str(problem)) < 400
    assert problem.message.isprintable()


@pytest.mark.parametrize("name", [name for name in WRONG if name != "a superscript as a key"])
def test_what_no_option_takes_says_where(name: str) -> None:
    text, code = WRONG[name]
    problems = check_text(BASE + text + "\n", file="r.yml").errors
    assert [(problem.code, problem.line) for problem in problems] == [(code, HERE)]
    assert len(str(problems[0])) < 400
    assert problems[0].message.isprintable()


@pytest.mark.parametrize("name", FINE)
def test_unusual_texts_that_mean_something_are_read(name: str) -> None:
    text, option, value = FINE[name]
    checked = check_text(BASE + text + "\n", file="r.yml")
    assert checked.errors == ()
    assert getattr(checked.config, option) == value


@pytest.mark.parametrize("newline", ["\r\n", "\r", "\n"])
def test_line_ends_of_every_system_count_as_lines(newline: str) -> None:
    (problem,) = check_text((BASE + "sed: 1\n").replace("\n", newline), file="r.yml").errors
    assert (problem.line, problem.suggestion) == (HERE, "seed")


@pytest.mark.parametrize(
    ("content", "line"), [(b"\xef\xbb\xbf" + BASE.encode() + b"sed: 1\n", HERE), (BASE.encode("utf-16"), None), (b"\xff\xfe\0\0", None)]
)
def test_the_bytes_of_a_file_are_judged_too(content: bytes, line: int | None, tmp_path: Path) -> None:
    (tmp_path / "r.yml").write_bytes(content)
    with pytest.raises(UserError) as caught:
        load_config(tmp_path / "r.yml")
    assert [problem.line for problem in caught.value.problems] == [line]


PIECES = st.sampled_from(
    [
        "a",
        "seed",
        ": ",
        ":",
        "\n",
        "\n  ",
        "- ",
        "[",
        "]",
        "{",
        "}",
        ", ",
        "&a ",
        "*a",
        "<<: ",
        "!!",
        "!!int ",
        "!",
        "|",
        ">",
        '"',
        "'",
        "#",
        "? ",
        "1",
        "0x",
        "1e5",
        ".nan",
        "~",
        "yes",
        "\t",
        "\r\n",
        "---\n",
        "...\n",
        "%",
        "@",
        "`",
        "\\",
        "\x00",
        "\ufeff",
        "é",
        "🚀",
        "\u2028",
        "{{ x }}",
        "2026-01-01",
    ]
)


@settings(max_examples=400, deadline=None, derandomize=True)
@given(st.lists(PIECES, max_size=25), st.booleans())
def test_any_mixture_of_yaml_is_judged(pieces: list[str], after_a_recipe: bool) -> None:
    text = (BASE if after_a_recipe else "") + "".join(pieces)
    checked = check_text(text, file="r.yml")
    assert (checked.config is None) == bool(checked.errors)
    for problem in (*checked.errors, *checked.warnings):
        assert problem.line is not None or problem.code == "missing", problem
