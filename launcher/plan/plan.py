"""A plan: what a run will do, need, take and cost, decided from the recipe and where it goes, with the reasons to refuse it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from launcher.estimate.calibration import Lesson, calibrated
from launcher.estimate.estimate import Estimate, estimate
from launcher.estimate.model_source import ModelSource, find_model
from launcher.estimate.range import Range
from launcher.estimate.rows import data_size
from launcher.plan.azure_login import login_problems
from launcher.plan.environment import machine_of, target_problems
from launcher.plan.fingerprint import DataPin, pin_data
from launcher.plan.inputs import input_problems
from launcher.plan.limits import over_limits
from launcher.plan.offer import Offer, OfferVerdict
from launcher.plan.prices import PriceList
from launcher.plan.rented import chosen, rented_offers, wish_of
from launcher.plan.seen import SeenBy, nothing_seen
from launcher.plan.storage_keys import StorageKeys, storage_keys
from launcher.plan.target import Target
from launcher.plan.unsold import why_unsold
from runtime.config.beat import preemption_hours
from runtime.config.problem import ExitCode, Problem, UserError
from runtime.config.secrets import HUB_TOKEN, has_hub_token, wanted_secrets

if TYPE_CHECKING:
    from runtime.config.document import Document
    from runtime.config.environment import Resolved
    from runtime.config.schema import TrainingConfig

LineVerdict = Literal["ok", "fits", "tight", "refused", "unknown", "missing", ""]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of the plan: what it is about, the verdict in a word, and the figures."""

    name: str
    verdict: LineVerdict
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Everything about one run before it starts. `estimate` is None when the model's shape is not known here."""

    run: str
    recipe: str
    created: float
    config_hash: str
    config_yaml: str
    keys: int
    target: Target
    data: DataPin
    estimate: Estimate | None
    offers: tuple[Offer, ...]
    max_cost_usd: float | None
    max_hours: float | None
    secrets: tuple[tuple[str, bool], ...]
    """Names of the secrets and whether the environment holds them."""
    after: tuple[str, ...]
    storage: str | None
    output_dir: str
    warnings: tuple[Problem, ...]
    refusals: tuple[Problem, ...]
    prices: PriceList | None = None
    """What the offers were read from."""
    keys_of_storage: StorageKeys | None = None
    """The keys that are sent along for an S3 storage; None where it needs none, or this machine has none."""
    resolved: tuple[Resolved, ...] = ()
    """What options that are `auto` come to on the target."""

    @property
    def refused(self) -> bool:
        """The plan must not run."""
        return bool(self.refusals)

    @property
    def cost(self) -> Range | None:
        """What the chosen offer is expected to cost, USD."""
        return self.offers[0].expected_usd if self.offers else None

    @property
    def hours(self) -> Range | None:
        """How long the run is expected to take on the chosen offer, interruptions included."""
        if self.offers and self.offers[0].expected_h is not None:
            return self.offers[0].expected_h
        return self.estimate.time.hours if self.estimate is not None and self.estimate.time is not None else None

    @property
    def expected_gib(self) -> float | None:
        """The peak that one process is expected to measure, None where the model's shape is not known."""
        return self.estimate.process_gib if self.estimate is not None else None

    def refuse(self) -> None:
        """Raise UserError (exit 3) with every reason not to run this plan, if there is one."""
        if self.refusals:
            raise UserError(self.refusals, exit_code=ExitCode.REFUSED)

    def to_json(self) -> dict[str, Any]:
        """The plan as the `data` of `launcher plan --json`, and as the body of a plan.lock."""
        made = (
            self.estimate.to_json()
            if self.estimate is not None
            else {"model": None, "method": None, "hardware": None, "memory": None, "time": None, "saves": None, "cost": {"usd": None}}
        )
        return {
            "run": self.run,
            "recipe": self.recipe,
            "created": self.created,
            "config_hash": self.config_hash,
            "target": {"cloud": self.target.cloud, "hardware": self.target.hardware.name},
            "output_dir": self.output_dir,
            "storage": self.storage,
            "data": {
                "sha256": self.data.sha256,
                "files": [{"path": file.path, "sha256": file.sha256, "size": file.size} for file in self.data.files],
                "remote": list(self.data.remote),
            },
            **made,
            "offers": [offer.to_json() for offer in self.offers],
            "prices": self.prices.to_json(self.created) if self.prices is not None else None,
            "budget": {"max_cost_usd": self.max_cost_usd, "max_hours": self.max_hours},
            "secrets": [{"name": name, "present": present} for name, present in self.secrets],
            "storage_keys": self._keys_json(),
            "after": list(self.after),
            "resolved": [{"option": one.option, "value": one.value, "why": one.why} for one in self.resolved],
            "verdict": "refused" if self.refused else "ok",
            "refusals": [{"code": problem.code, "message": problem.message, "fix": problem.fix} for problem in self.refusals],
        }

    def _keys_json(self) -> dict[str, Any] | None:
        keys = self.keys_of_storage
        return {"source": keys.source, "temporary": keys.temporary, "expires": keys.expires} if keys is not None else None


def make_plan(
    config: TrainingConfig,
    *,
    recipe: Path,
    target: Target,
    run_name: str,
    environment: Mapping[str, str],
    now: float,
    warnings: Sequence[Problem] = (),
    model_config: Path | None = None,
    prices: PriceList | None = None,
    lessons: Sequence[Lesson] = (),
    seen: SeenBy = nothing_seen,
    document: Document | None = None,
    refuse: bool = True,
) -> Plan:
    """The plan of a run of `config` called `run_name` on `target`, made at Unix time `now`. Without `prices` rented machines have no offers; `lessons` of earlier runs correct
    the estimate, what was `seen` of spot machines corrects their risk. `document` places what the target cannot do in the recipe's text.

    Raises UserError with exit code 2 when a local input is missing or unreadable, and with exit code 3 when the target cannot compute it, or the run does not fit in memory or exceeds its budget, unless `refuse` is off: then the plan carries the
    reasons. A model that is not known here leaves memory and time open, with a warning, as the machine that runs it can fetch the model.
    """
    from runtime.config.load import config_hash, dump_yaml

    if missing := input_problems(config):
        raise UserError(missing)
    said = list(warnings)
    model = _model(config, model_config, environment, said)
    made = calibrated(_estimate(config, model, target, environment), lessons) if model is not None else None
    launch = config.launch
    offers: tuple[Offer, ...] = ()
    if target.is_local:
        offers = _here(target, made, max_cost=launch.max_cost_usd)
    elif made is not None and prices is not None:
        offers = tuple(rented_offers(config, made, target, prices, lessons, seen))
        made = chosen(config, made, target, offers, lessons)
        if not offers and (unsold := why_unsold(wish_of(config, target), prices)) is not None:
            said.append(unsold)
    pin = pin_data(config)
    told = " ".join(problem.message for problem in said if problem.code == "not-pinned")
    if unpinned := [source for source in pin.unpinned if source.removesuffix("@") not in told]:
        said.append(_unpinned(unpinned))
    unable, doubts, resolved = target_problems(config, [machine_of(target.hardware, model.facts if model is not None else None)], document)
    said += doubts
    refusals = [*unable]
    if made is not None:
        refusals += over_limits(config, made, max_cost=launch.max_cost_usd, max_hours=launch.max_hours)
    keys = None if target.is_local else storage_keys(launch.storage, environment)
    if keys is not None and (ending := keys.warning(now)) is not None:
        said.append(ending)
    if not target.is_local:
        doubtful, impossible = login_problems(launch, environment, offers)
        said += doubtful
        refusals += impossible
    plan = Plan(
        run=run_name,
        recipe=str(recipe),
        created=now,
        config_hash=config_hash(config),
        config_yaml=dump_yaml(config),
        keys=len(config.model_fields_set - {"launch"}),
        target=target,
        data=pin,
        estimate=made,
        offers=offers,
        max_cost_usd=launch.max_cost_usd,
        max_hours=launch.max_hours,
        secrets=tuple((name, _is_here(name, target, environment)) for name in wanted_secrets(config)),
        after=_after(config),
        storage=launch.storage,
        output_dir=config.output_dir,
        warnings=tuple(said),
        refusals=tuple(refusals),
        prices=prices,
        keys_of_storage=keys,
        resolved=tuple(resolved),
    )
    if refuse:
        plan.refuse()
    return plan


def _model(
    config: TrainingConfig, model_config: Path | None, environment: Mapping[str, str], warnings: list[Problem]
) -> ModelSource | None:
    try:
        return find_model(config.base_model, model_config=model_config, environment=environment, changes=config.overrides_of_model_config)
    except UserError as error:
        if any(problem.code != "unknown-model" for problem in error.problems):
            raise
        warnings.extend(error.problems)
        return None


def _estimate(config: TrainingConfig, model: ModelSource, target: Target, environment: Mapping[str, str]) -> Estimate:
    data = data_size(config, vocab=model.facts.vocab)
    told = preemption_hours(config, environment) if target.is_local else None
    return estimate(config, model, target.hardware, data, usd_per_h=target.usd_per_h, preemption_h=told)


def _here(target: Target, made: Estimate | None, *, max_cost: float | None) -> tuple[Offer, ...]:
    """This machine as the one offer."""
    hours = made.time.hours if made is not None and made.time is not None else None
    verdict: OfferVerdict = "ok"
    if made is not None and made.memory.verdict == "does-not-fit":
        verdict = "does-not-fit"
    elif made is not None and made.cost is not None and max_cost is not None and made.cost.low > max_cost:
        verdict = "over-budget"
    hardware = target.hardware
    described = str(hardware.gpus) if hardware.gpus is not None else "no GPU"
    return (
        Offer(
            cloud=target.cloud,
            region="this machine",
            instance=f"{hardware.cores} cores, {hardware.capacity_gib:.0f} GiB" if hardware.gpus is None else f"{hardware.cores} cores",
            gpus=described,
            usd_per_h=0.0,
            spot=False,
            expected_usd=hours.times(0.0) if hours is not None else None,
            expected_h=hours,
            verdict=verdict,
        ),
    )


def _is_here(name: str, target: Target, environment: Mapping[str, str]) -> bool:
    """Whether a run on `target` will find this secret; a token stored on this machine serves runs on it alone."""
    return bool(environment.get(name)) or (name == HUB_TOKEN and target.is_local and has_hub_token(environment))


def _after(config: TrainingConfig) -> tuple[str, ...]:
    """What happens once training has ended, in order."""
    publish = config.launch.publish
    steps = ["seal the final model"]
    if publish.merge and config.adapter:
        steps.append("merge the adapter")
    if publish.verify:
        steps.append("load it again and generate")
    if config.hub_model_id:
        where = config.hub_model_id + (f" ({config.hub_revision})" if config.hub_revision else "")
        steps.append(f"push to {where}, {'private' if publish.private else 'public if new'}, and compare")
    return tuple(steps)


def _unpinned(sources: Sequence[str]) -> Problem:
    names = ", ".join(source.removesuffix("@") for source in sources)
    return Problem(
        code="not-pinned",
        path="datasets",
        message=f"data that is not on this machine and has no revision may change: {names}",
        fix="name a commit: `revision: <commit>`",
    )
