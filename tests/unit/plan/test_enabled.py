"""Which clouds a plan may offer, and what it says where there is no login to any."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from launcher.plan.enabled import enabled_clouds, login_advice, within
from launcher.plan.prices import Price, PriceList
from runtime.config.launch import LaunchConfig

KEY = "enabled_clouds_default_compute"


def price(cloud: str, usd: float, gpu: str = "A100") -> Price:
    return Price(cloud=cloud, region="r", instance="i", gpu=gpu, count=8, usd_per_h=usd, spot_usd_per_h=None)


PRICES = PriceList(
    prices=(price("aws", 32.0), price("lambda", 14.0), price("gcp", 29.0), price("do", 1.0, gpu="H100")), dropped=0, as_of=0.0
)
LAUNCH = LaunchConfig(gpus="A100:8")


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    (tmp_path / ".sky").mkdir()
    return {"HOME": str(tmp_path)}


def keep(home: dict[str, str], **rows: object) -> None:
    with sqlite3.connect(f"{home['HOME']}/.sky/state.db") as books:
        books.execute("CREATE TABLE config (key TEXT PRIMARY KEY, value TEXT)")
        books.executemany("INSERT INTO config VALUES (?, ?)", [(key, json.dumps(value)) for key, value in rows.items()])


def test_the_clouds_are_those_that_skypilot_wrote_down(home: dict[str, str]) -> None:
    assert enabled_clouds(home, installed=True) == frozenset()
    keep(
        home,
        **{
            KEY: ["AWS", "Lambda"],
            f"{KEY}_user1": ["Slurm"],
            "enabled_clouds_default_storage": ["GCP"],
            "enabled_clouds_team_compute": ["GCP"],
        },
    )
    assert enabled_clouds(home, installed=True) == {"aws", "lambda", "slurm"}
    assert enabled_clouds(home | {"SKY_RUNTIME_DIR": "/nowhere"}, installed=True) == frozenset()
    assert enabled_clouds(home, installed=False) is None
    (Path(home["HOME"]) / ".sky" / "config.yaml").write_text("active_workspace: team\n")
    assert enabled_clouds(home, installed=True) == {"gcp"}


def test_another_computers_server_and_unknown_books_say_nothing(home: dict[str, str]) -> None:
    assert enabled_clouds(home | {"SKYPILOT_API_SERVER_ENDPOINT": "https://sky.example"}, installed=True) is None
    assert enabled_clouds(home | {"SKYPILOT_API_SERVER_ENDPOINT": "http://127.0.0.1:46580"}, installed=True) == frozenset()
    (Path(home["HOME"]) / ".sky" / "config.yaml").write_text("api_server:\n  endpoint: http://sky.example:1\n")
    assert enabled_clouds(home, installed=True) is None
    (Path(home["HOME"]) / ".sky" / "config.yaml").write_text("{")
    (Path(home["HOME"]) / ".sky" / "state.db").write_bytes(b"no database")
    assert enabled_clouds(home, installed=True) is None


def test_offers_are_those_of_enabled_clouds() -> None:
    kept = within(PRICES, frozenset({"aws", "slurm"}), cloud=None)
    assert [row.cloud for row in kept.prices] == ["aws"]
    assert kept.to_json(0.0)["enabled"] == ["aws", "slurm"]
    for enabled, cloud in ((None, None), (frozenset[str](), None), (frozenset({"aws"}), "gcp")):
        assert within(PRICES, enabled, cloud=cloud) == PRICES


@pytest.mark.parametrize(
    ("enabled", "launch", "said", "fix"),
    [
        (None, LAUNCH, "", ""),
        ({"aws"}, LAUNCH, "", ""),
        ({"do", "slurm"}, LAUNCH, "", ""),
        (
            set(),
            LAUNCH,
            "no cloud is enabled in SkyPilot here yet; the offers are those of all price lists",
            "log in to lambda (an API key in ~/.lambda_cloud/lambda_keys) or gcp (gcloud auth application-default login) or aws (aws configure), then run `sky check`, which says what is missing",
        ),
        (
            {"do"},
            LAUNCH,
            "none of the clouds enabled in SkyPilot here (do) sells A100:8",
            "log in to lambda (an API key in ~/.lambda_cloud/lambda_keys) or gcp (gcloud auth application-default login) or aws (aws configure), then run `sky check`, which says what is missing",
        ),
        (
            {"aws"},
            LaunchConfig(gpus="A100:8", cloud="cudo"),
            "SkyPilot has no login to cudo here, but to aws",
            "log in to cudo, then run `sky check cudo`, which says what is missing",
        ),
    ],
)
def test_it_is_said_what_to_log_in_to(enabled: set[str] | None, launch: LaunchConfig, said: str, fix: str) -> None:
    found = login_advice(PRICES, frozenset(enabled) if enabled is not None else None, launch)
    assert [(problem.message, problem.fix) for problem in found] == ([(said, fix)] if said else [])
