"""The written reference of options is whole, readable and as new as the schema."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from runtime.config.effects import effect_of
from runtime.config.reference import groups, reference
from runtime.config.renames import ALIASES, RENAMED
from runtime.config.schema import TrainingConfig
from runtime.config.shape import options

TEXT = reference()
ROWS = {found[1]: row for row in TEXT.splitlines() if (found := re.match(r'\| <a id="([^"]+)"></a>', row))}


def test_it_is_as_new_as_the_schema(checkout: Path) -> None:
    assert (checkout / "docs" / "config.md").read_text(encoding="utf-8") == TEXT, "run `make docs`"


def test_every_option_has_a_row_in_one_group() -> None:
    names = [name for _, _, names in groups() for name in names]
    assert sorted(names) == sorted(TrainingConfig.model_fields)
    wanted = {path.replace("[]", "") for path, _, _ in options() if not path.startswith("test_datasets[].")}
    assert set(ROWS) == wanted


def test_every_row_has_five_cells_and_an_effect() -> None:
    for name, row in ROWS.items():
        cells = re.split(r"(?<!\\)\|", row)[1:-1]
        assert len(cells) == 5, name
        assert all(cell.strip() for cell in cells), name
    assert "passed to LoraConfig.r" in ROWS["lora_r"]
    assert "refused" in ROWS["comet_api_key"]


@pytest.mark.parametrize("path", [path for path, _, _ in options() if "." not in path])
def test_what_is_not_supported_is_marked(path: str) -> None:
    assert ("**not supported yet**" in ROWS[path]) == (effect_of(path).kind == "unsupported")


def test_old_names_are_listed() -> None:
    for old in (*RENAMED, *ALIASES):
        assert f"`{old}`" in TEXT.partition("## Old names")[2]


def test_links_of_the_table_of_contents_lead_to_headings() -> None:
    links = re.findall(r"^- \[[^]]+\]\(#([^)]+)\)", TEXT, re.MULTILINE)
    headings = {heading.lower().replace(" ", "-") for heading in re.findall(r"^## (.+)$", TEXT, re.MULTILINE)}
    assert set(links) == headings


def test_a_group_can_be_listed_alone(capsys: pytest.CaptureFixture[str]) -> None:
    from launcher.cli.app import main

    with pytest.raises(SystemExit) as ended:
        main(["explain", "--group", "adapter"])
    assert ended.value.code == 0
    printed = capsys.readouterr().out
    assert "lora_r " in printed
    assert "learning_rate " not in printed
    with pytest.raises(SystemExit) as ended:
        main(["explain", "--group", "adaptor"])
    assert ended.value.code == 2
    assert "did you mean 'adapter'?" in capsys.readouterr().err
