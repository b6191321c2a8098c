"""Run as a program beside SkyPilot: what its optimizer takes of the catalogs in this HOME, and what `launcher.plan` offers, for the wishes on standard input.

A wish is a recipe's launch section. Prints `{choices: [{sky: …, ours: …}], unsupported: {cloud: […]}, volume: […]}`: for each wish cloud, region, instance, spot and usd_per_h,
None where there is nothing; what each cloud's class in SkyPilot cannot do; and the columns of its table of volumes.
"""

from __future__ import annotations

import json
import logging
import sys
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import sky
import yaml
from sky import check, exceptions, global_user_state
from sky.clouds.cloud import CloudCapability
from sky.optimizer import Optimizer
from sky.schemas.api.responses import VolumeRecord
from sky.skylet import constants
from sky.utils import registry

from launcher.estimate.estimate import estimate
from launcher.estimate.model_source import find_model
from launcher.estimate.rows import UNKNOWN
from launcher.plan.prices import PriceList
from launcher.plan.rented import rented_offers
from launcher.plan.sky_prices import fetch_prices
from launcher.plan.target import target_of
from launcher.task.making import make_task
from launcher.task.task import render_task
from runtime.config.load import check_text
from runtime.config.schema import TrainingConfig

CLOUDS = ("aws", "gcp", "lambda", "runpod", "nebius")
RECIPE = "base_model: HuggingFaceTB/SmolLM2-135M\nlearning_rate: 1e-4\nmicro_batch_size: 1\ndatasets:\n  - {path: a/b, type: alpaca}\n"


def config_of(wish: dict[str, Any]) -> TrainingConfig:
    """The recipe of a wish."""
    config = check_text(RECIPE + yaml.safe_dump({"launch": {"storage": "s3://bucket/runs", **wish}}), file="recipe.yml").config
    assert config is not None
    return config


def chosen_by_sky(wish: dict[str, Any]) -> dict[str, Any] | None:
    """The optimizer's best for the task that we would submit."""
    made = make_task(config_of(wish), run="probe", recipe="recipe.yml", cwd=Path.cwd(), environment={})
    task = sky.Task.from_yaml_config(yaml.safe_load(render_task(made.task)))
    with sky.Dag() as dag:
        dag.add(task)
    try:
        Optimizer.optimize(dag, quiet=True)
    except exceptions.ResourcesUnavailableError:
        return None
    best = task.best_resources
    return {
        "cloud": str(best.cloud).lower(),
        "region": best.region,
        "instance": best.instance_type,
        "spot": best.use_spot,
        "usd_per_h": round(best.get_cost(3600) * wish.get("nodes", 1), 6),
    }


def offered_by_us(wish: dict[str, Any], prices: PriceList) -> dict[str, Any] | None:
    """The first of our offers."""
    config = config_of(wish)
    target = target_of(config.launch)
    assert target is not None
    made = estimate(config, find_model(config.base_model), target.hardware, UNKNOWN)
    offers = rented_offers(config, made, target, prices)
    if not offers:
        return None
    first = offers[0]
    return {
        "cloud": first.cloud,
        "region": first.region,
        "instance": first.instance,
        "spot": first.spot,
        "usd_per_h": round(first.usd_per_h, 6),
    }


def unsupported() -> dict[str, list[str]]:
    """Names of SkyPilot's features that a cloud lacks, for all clouds that can be asked without their own packages."""
    found = {}
    for cloud in constants.ALL_CLOUDS:
        try:
            kind = registry.CLOUD_REGISTRY.from_str(cloud)
            found[cloud] = sorted(one.name for one in kind._unsupported_features_for_resources(sky.Resources(cloud=kind)))
        except Exception:
            continue
    return found


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    # As `sky check` would leave it, were there credentials.
    global_user_state.set_enabled_clouds(list(CLOUDS), CloudCapability.COMPUTE, "default")
    global_user_state.set_allowed_clouds(sorted(check._get_workspace_allowed_clouds("default")), "default")
    with redirect_stdout(StringIO()):
        known = fetch_prices()
        choices = [{"sky": chosen_by_sky(wish), "ours": offered_by_us(wish, known)} for wish in json.load(sys.stdin)]
        answer = {"choices": choices, "unsupported": unsupported(), "volume": sorted(VolumeRecord.model_fields)}
    json.dump(answer, sys.stdout)
