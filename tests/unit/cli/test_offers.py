"""`launcher offers`: the kept prices of the kinds that are asked for."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from launcher.cli.app import main
from launcher.plan.prices import Price, PriceList, write_prices


def test_several_kinds_are_asked_for_with_commas(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        Price(cloud="aws", region="r", instance=name, gpu=name, count=8, usd_per_h=9.0, spot_usd_per_h=None)
        for name in ("A100", "H100-SXM", "L4")
    ]
    write_prices(PriceList(prices=tuple(rows), dropped=0, as_of=time.time()), tmp_path / "prices.json")
    monkeypatch.setenv("LAUNCHER_PRICES", str(tmp_path / "prices.json"))
    with pytest.raises(SystemExit) as ended:
        main(["offers", "--gpus", "A100:8,h100:8", "--json"])
    assert ended.value.code == 0
    assert [offer["gpu"] for offer in json.loads(capsys.readouterr().out)["data"]["offers"]] == ["A100", "H100-SXM"]
