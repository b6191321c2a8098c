"""Run as a program beside SkyPilot: what its optimizer takes of the catalogs in this HOME, and what `launcher.plan` offers, for the wishes on standard input.

A wish is a recipe's launch section, with `tokens` to say how long the run is. Prints `{idle: […], enabled: […], choices: [{sky: …, ours: …}], unsupported: {cloud: […]}, volume: […]}`: for each wish cloud, region, instance, spot and usd_per_h,
None where there is nothing, the clouds that we take for enabled, and what SkyPilot
was told of idle machines, after it has rehearsed a launch; what each cloud's class in SkyPilot cannot do; and the columns of its table of volumes.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import sky
import yaml
from sky import check, exceptions, execution, global_user_state
from sky.clouds.cloud import CloudCapability
from sky.optimizer import Optimizer
from sky.schemas.api.responses import VolumeRecord
from sky.skylet import constants
from sky.utils import dag_utils, registry

from launcher.backend.sky.skypilot import sky_task
from launcher.estimate.estimate import estimate
from launcher.estimate.model_source import find_model
from launcher.estimate.rows import data_size
from launcher.plan.enabled import enabled_clouds
from launcher.plan.offer import Offer
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
    text = RECIPE
    if tokens := wish.pop("tokens", None):
        Path("rows.jsonl").write_text(json.dumps({"text": "word " * 1000}) + "\n", encoding="utf-8")
        text = (
            text.replace("{path: a/b, type: alpaca}", "{path: rows.jsonl, type: completion}")
            + f"sequence_len: 1024\nnum_epochs: {tokens // 1000}\n"
        )
    config = check_text(text + yaml.safe_dump({"launch": {"storage": "s3://bucket/runs", **wish}}), file="recipe.yml").config
    assert config is not None
    return config


def offers_of(config: TrainingConfig, prices: PriceList) -> list[Offer]:
    """What a plan of the recipe offers."""
    target = target_of(config.launch)
    assert target is not None
    model = find_model(config.base_model)
    made = estimate(config, model, target.hardware, data_size(config, vocab=model.facts.vocab))
    return rented_offers(config, made, target, prices)


def chosen_by_sky(config: TrainingConfig, offers: list[Offer]) -> dict[str, Any] | None:
    """The optimizer's best for the task that we would submit."""
    made = make_task(config, run="probe", recipe="recipe.yml", cwd=Path.cwd(), environment={}, offers=offers)
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
        "usd_per_h": round(best.get_cost(3600) * config.launch.nodes, 6),
    }


def offered_by_us(offers: list[Offer]) -> dict[str, Any] | None:
    """The first of our offers."""
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


def rehearse(config: TrainingConfig, offers: list[Offer]) -> list[Any]:
    """What SkyPilot has to say of the task as a cluster, up to where a cloud would be asked for a machine: the idle time it was told, for each choice."""
    made = make_task(config, run="probe", recipe="recipe.yml", cwd=Path.cwd(), environment={}, offers=offers)
    task = sky_task(sky, render_task(made.task), {"LAUNCHER_SUBMISSION": "one"}, {})
    dag_utils.fill_default_config_in_dag_for_job_launch(dag_utils.convert_entrypoint_to_dag(task))
    execution.launch(task, cluster_name="probe", dryrun=True)
    return [one.autostop_config.to_yaml_config() for one in task.resources]


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
        choices = []
        for config in map(config_of, json.load(sys.stdin)):
            offers = offers_of(config, known)
            choices.append({"sky": chosen_by_sky(config, offers), "ours": offered_by_us(offers)})
        probe = config_of({"gpus": ["L40S:1", "RTX4090:1"], "cloud": "runpod", "tokens": 200_000_000})
        answer = {
            "idle": rehearse(probe, offers_of(probe, known)),
            "enabled": sorted(enabled_clouds(os.environ) or ()),
            "clouds": list(constants.ALL_CLOUDS),
            "choices": choices,
            "unsupported": unsupported(),
            "volume": sorted(VolumeRecord.model_fields),
        }
    json.dump(answer, sys.stdout)
