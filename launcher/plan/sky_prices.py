"""Prices from SkyPilot's catalog, of every cloud it knows. No other module imports SkyPilot for prices: it takes seconds."""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from launcher.plan.enabled import OF_ONES_OWN
from launcher.plan.prices import Price, PriceList, sane
from runtime.config.problem import ExitCode, Problem, UserError


def fetch_prices(gpus: tuple[str, ...] = (), *, report: Callable[[str], None] = lambda _: None) -> PriceList:
    """The catalog's prices, each cloud's cheapest zone in every region; of the kinds in `gpus` (SkyPilot's names) only, when given.

    `report` is told each cloud's name before it is read.

    SkyPilot downloads what it lacks or what has become old. A cloud whose catalog cannot be had, or read, is left out and named. Raises UserError when SkyPilot is not
    installed, or when no catalog can be read at all.
    """
    try:
        from sky import catalog
        from sky.catalog import common
        from sky.skylet import constants
    except ImportError as error:
        raise UserError(
            Problem(
                code="not-installed",
                message="prices come from SkyPilot's catalog, and SkyPilot is not installed beside the launcher",
                fix="pip install 'finetune-launcher[cloud]'",
            ),
            exit_code=ExitCode.REMOTE_REFUSED,
        ) from error
    logging.getLogger("sky").setLevel(logging.CRITICAL)
    pattern = "|".join(f"^{name}$" for name in gpus) or None
    rows: list[Price] = []
    times: list[float] = []
    failed: list[str] = []
    for cloud in constants.ALL_CLOUDS:
        if cloud in _WITHOUT_PRICES:
            continue
        report(cloud)
        try:
            # Each cloud alone: one that cannot be reached must not hide the others. SkyPilot prints messages of its own protocol meanwhile.
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                found = catalog.list_accelerators(gpus_only=True, name_filter=pattern, clouds=cloud, all_regions=True)
        except Exception as error:  # noqa: BLE001 - whatever a cloud's adaptor raises, it has no prices to give
            failed.append(f"{cloud} ({type(error).__name__})")
            continue
        rows += [price for items in found.values() for item in items if (price := _price(cloud, item)) is not None]
        if (fetched := _fetched(Path(common.get_catalog_path(f"{cloud}/vms.csv")), cloud)) is not None:
            times.append(fetched)
    if not rows and failed:
        raise UserError(
            Problem(
                code="no-prices",
                message=f"no cloud's catalog can be read: {', '.join(failed[:4])}" + (" …" if len(failed) > 4 else ""),
                fix="check the network, then run `launcher offers --refresh` again",
            ),
            exit_code=ExitCode.REMOTE_REFUSED,
        )
    return sane(rows, as_of=min(times, default=time.time()), left_out=failed)


_WITHOUT_PRICES = OF_ONES_OWN | {"local"}


def _fetched(catalog: Path, cloud: str) -> float | None:
    """When a catalog was last downloaded, or written by hand.

    SkyPilot sets the catalog's own time to now when a download fails, and goes on with the old content; the checksum beside it is written by downloads alone
    (skypilot 0.14, sky/catalog/common.py).
    """
    note = catalog.parent.parent / ".meta" / cloud / f"{catalog.name}.md5"
    with contextlib.suppress(OSError):
        downloaded = hashlib.md5(catalog.read_bytes(), usedforsecurity=False).hexdigest()
        with contextlib.suppress(OSError):
            if note.read_text(encoding="utf-8").strip() == downloaded:
                return note.stat().st_mtime
        return catalog.stat().st_mtime
    return None


def _price(cloud: str, item: Any) -> Price | None:
    count = _number(item.accelerator_count)
    if count is None or count < 1 or count != int(count):
        return None  # a slice of a GPU
    return Price(
        cloud=cloud,
        region=str(item.region),
        instance=str(item.instance_type or "") or f"{item.accelerator_name}:{int(count)}",
        gpu=str(item.accelerator_name),
        count=int(count),
        usd_per_h=_number(item.price),
        spot_usd_per_h=_number(item.spot_price),
    )


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None
