"""`launcher offers`: what machines with GPUs cost, from SkyPilot's catalog."""

from __future__ import annotations

from typing import Annotated

import typer


def offers(
    gpus: Annotated[
        str | None, typer.Option(help="Only this kind and count, `A100-80GB:8`, or several with commas; a kind alone means one.")
    ] = None,
    cloud: Annotated[str | None, typer.Option(help="Only this cloud.")] = None,
    refresh: Annotated[
        bool, typer.Option("--refresh", help="Read SkyPilot's catalog anew; takes seconds, longer when it is downloaded.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> int:
    """Priced machines that have GPUs, the cheapest first. The prices are kept, so that `estimate` and `plan` need no SkyPilot to use them."""
    import os
    import time
    from dataclasses import asdict, replace

    from launcher.cli.output import emit_json, note, note_problems, say
    from launcher.estimate.gpus import find_gpu, parse_gpus
    from launcher.plan.prices import about_age, price_file, read_prices, write_prices
    from runtime.config.problem import Problem

    wanted = [parse_gpus(kind) for kind in gpus.split(",")] if gpus else []
    path = price_file(os.environ)
    prices = None if refresh else read_prices(path)
    if prices is None:
        from launcher.plan.sky_prices import fetch_prices

        prices = fetch_prices(report=lambda name: note(f"reading SkyPilot's catalog of {name}"))
        write_prices(prices, path)
    now = time.time()
    warnings = about_age(prices, now)
    kept = tuple(
        price
        for price in prices.prices
        if (cloud is None or price.cloud == cloud.lower())
        # What the table of GPUs lacks, no recipe can be trained on: TPUs, Trainium.
        and (gpu := find_gpu(price.gpu)) is not None
        and (not wanted or any(price.count == kind.count and gpu.name == kind.gpu.name for kind in wanted))
    )
    if cloud is not None and cloud.lower() not in prices.clouds:
        warnings.append(
            Problem(
                code="unknown-name",
                place="--cloud",
                message=f"no price of '{cloud}' is known",
                fix=f"clouds with prices: {', '.join(prices.clouds) or 'none'}; `launcher offers --refresh` reads the catalogs anew",
            )
        )
    if as_json:
        body = {
            "as_of": prices.as_of,
            "age_h": round(prices.age_h(now), 2),
            "dropped": prices.dropped,
            "clouds": list(prices.clouds),
            "left_out": list(prices.left_out),
            "offers": [asdict(price) for price in kept],
        }
        emit_json("offers", body, warnings=warnings)
    else:
        from launcher.show.offers import render_price_table

        note_problems(warnings, kind="warning")
        say(render_price_table(replace(prices, prices=kept), now=now))
    return 0
