"""The clouds that SkyPilot on this computer has a login to, as its last check found them, and what to do where there is none."""

from __future__ import annotations

import csv
import importlib.util
import json
import sqlite3
import urllib.parse
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from launcher.estimate.gpus import find_gpu, parse_gpus
from runtime.config.problem import Problem

if TYPE_CHECKING:
    from launcher.plan.prices import PriceList
    from runtime.config.launch import LaunchConfig

_TABLE = Path(__file__).parents[1] / "data" / "clouds.csv"
_LOCAL_SERVERS = frozenset({"localhost", "127.0.0.1", "0.0.0.0", "::1"})  # noqa: S104 - names of this computer, nothing is opened
# Clouds of one's own, which no price list has.
OF_ONES_OWN = frozenset({"kubernetes", "slurm", "ssh", "vsphere"})
_SHOWN = 3


def enabled_clouds(environment: Mapping[str, str], *, installed: bool | None = None) -> frozenset[str] | None:
    """The names of the clouds; none when no check has found one yet. None where nobody here knows: without SkyPilot (`installed`), or when its API server
    is another computer's.

    Read from where SkyPilot keeps it (0.14, sky/global_user_state.py), as importing SkyPilot takes seconds and asking it starts a server.
    """
    if not (importlib.util.find_spec("sky") is not None if installed is None else installed):
        return None
    home = Path(environment.get("HOME") or Path.home())
    settings = _settings(Path(environment.get("SKYPILOT_GLOBAL_CONFIG") or home / ".sky" / "config.yaml").expanduser())
    server = environment.get("SKYPILOT_API_SERVER_ENDPOINT") or _mapping(settings.get("api_server")).get("endpoint")
    if server and urllib.parse.urlsplit(str(server)).hostname not in _LOCAL_SERVERS:
        return None
    books = Path(environment.get("SKY_RUNTIME_DIR") or home) / ".sky" / "state.db"
    if not books.is_file():
        return frozenset()
    key = f"enabled_clouds_{settings.get('active_workspace') or 'default'}_compute"
    try:
        with closing(sqlite3.connect(f"{books.absolute().as_uri()}?mode=ro", uri=True, timeout=1.0)) as connection:
            # Where several people share a server, each has a row of their own.
            rows = connection.execute(
                "SELECT value FROM config WHERE key = ? OR substr(key, 1, ?) = ?", (key, len(key) + 1, f"{key}_")
            ).fetchall()
        return frozenset(str(name).lower() for (value,) in rows for name in json.loads(value))
    except (sqlite3.Error, ValueError, TypeError):
        # Another version keeps it elsewhere.
        return None


def within(prices: PriceList, enabled: frozenset[str] | None, *, cloud: str | None) -> PriceList:
    """The prices of the clouds that a run can go to: the enabled ones. All, where none is known to be, and where the run names its `cloud`."""
    if not enabled or cloud is not None:
        return prices
    return replace(prices, prices=tuple(price for price in prices.prices if price.cloud in enabled), enabled=tuple(sorted(enabled)))


def login_advice(prices: PriceList | None, enabled: frozenset[str] | None, launch: LaunchConfig) -> list[Problem]:
    """The warning of a run that no enabled cloud can take, with what to log in to: clouds that sell its GPUs, the cheapest first."""
    if enabled is None:
        return []
    sellers = _sellers(prices, launch)
    if not enabled:
        wanted = [launch.cloud] if launch.cloud else sellers
        said = "no cloud is enabled in SkyPilot here yet" + (
            "; the offers are those of all price lists" if sellers and not launch.cloud else ""
        )
    elif launch.cloud:
        wanted, said = [launch.cloud], f"SkyPilot has no login to {launch.cloud} here, but to {', '.join(sorted(enabled))}"
        if launch.cloud in enabled:
            return []
    else:
        wanted, said = (
            sellers,
            f"none of the clouds enabled in SkyPilot here ({', '.join(sorted(enabled))}) sells {' or '.join(launch.kinds)}",
        )
        if not sellers or enabled & {*sellers, *OF_ONES_OWN}:
            return []
    return [Problem(code="no-cloud", place="--cloud" if launch.cloud else "--gpus", message=said, fix=_how(wanted))]


def _how(clouds: list[str]) -> str:
    ways = [f"{cloud} ({_logins()[cloud]})" for cloud in clouds if _logins().get(cloud)][:_SHOWN]
    names = " or ".join(ways or clouds[:_SHOWN]) or "one"
    checked = f"sky check {clouds[0]}" if len(clouds) == 1 else "sky check"
    return f"log in to {names}, then run `{checked}`, which says what is missing"


def _sellers(prices: PriceList | None, launch: LaunchConfig) -> list[str]:
    wanted = {(kind.gpu.name, kind.count) for kind in map(parse_gpus, launch.kinds)}
    cheapest: dict[str, float] = {}
    for price in prices.prices if prices is not None else ():
        gpu, usd = find_gpu(price.gpu), [usd for usd in (price.usd_per_h, price.spot_usd_per_h) if usd is not None]
        if gpu is not None and usd and (gpu.name, price.count) in wanted:
            cheapest[price.cloud] = min(*usd, cheapest.get(price.cloud, usd[0]))
    return sorted(cheapest, key=lambda cloud: cheapest[cloud])


def _settings(file: Path) -> dict[Any, Any]:
    import yaml

    try:
        return _mapping(yaml.safe_load(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, yaml.YAMLError):
        return {}


def _mapping(value: Any) -> dict[Any, Any]:
    return value if isinstance(value, dict) else {}


@cache
def _logins() -> dict[str, str]:
    with _TABLE.open(encoding="utf-8", newline="") as stream:
        return {row["cloud"]: row["login"] for row in csv.DictReader(stream)}
