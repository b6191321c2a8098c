"""Several runs of one recipe that differ in a few options, planned together under one budget."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from launcher.estimate.range import Range
from launcher.plan.offer import Offer
from launcher.plan.plan import Plan
from runtime.config.problem import Problem

if TYPE_CHECKING:
    from runtime.config.schema import TrainingConfig

# What two runs must not share: the later one would write over the earlier, or into its curves.
_OWN = (
    ("hub_model_id", ("hub_model_id", "hub_revision"), "would push their models to the same place"),
    ("wandb_run_id", ("wandb_run_id",), "would report into the same run of Weights & Biases"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One run of a sweep: the sweep's name, its number from 1, and its value of each varied option as it was written."""

    sweep: str
    number: int
    values: Mapping[str, str]

    @property
    def run(self) -> str:
        """The run's id."""
        return f"{self.sweep}-{self.number}"

    @property
    def words(self) -> str:
        """`lora_r=8 learning_rate=1e-4`."""
        return " ".join(f"{name}={value}" for name, value in self.values.items())

    def applied(self, config: TrainingConfig) -> TrainingConfig:
        """The config under this run's name, in a folder of its own below the recipe's `output_dir`, and without a cap on money, which is the sweep's."""
        launch = config.launch.model_copy(update={"name": self.run, "max_cost_usd": None})
        update: dict[str, Any] = {"launch": launch}
        if "output_dir" in config.model_fields_set and config.output_dir:
            update["output_dir"] = f"{config.output_dir.rstrip('/')}/{self.run}"
        return config.model_copy(update=update)


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepPlan:
    """The plans of all runs. `max_cost_usd` is for them together; each plan has its share of it as its own cap."""

    name: str
    axes: Mapping[str, tuple[str, ...]]
    members: tuple[Member, ...]
    plans: tuple[Plan, ...]
    max_cost_usd: float | None
    warnings: tuple[Problem, ...]
    refusals: tuple[Problem, ...]

    @property
    def cost(self) -> Range | None:
        """What all runs together are expected to cost, USD; None when that of one is not known."""
        return total([plan.cost for plan in self.plans])

    @property
    def refused(self) -> bool:
        """None of the runs may start."""
        return bool(self.refusals)

    def to_json(self) -> dict[str, Any]:
        """The plan as the `data` of `launcher plan --json`: the runs with their values, and what they come to together."""
        cost = self.cost
        return {
            "sweep": self.name,
            "axes": {name: list(values) for name, values in self.axes.items()},
            "runs": [plan.to_json() | {"values": dict(member.values)} for member, plan in zip(self.members, self.plans, strict=True)],
            "cost": {"usd": cost.to_json() if cost is not None else None},
            "budget": {"max_cost_usd": self.max_cost_usd, "shares_usd": {plan.run: plan.max_cost_usd for plan in self.plans}},
            "verdict": "refused" if self.refused else "ok",
            "refusals": [{"code": problem.code, "message": problem.message, "fix": problem.fix} for problem in self.refusals],
        }


def make_sweep(
    members: Sequence[Member],
    plans: Sequence[Plan],
    *,
    axes: Mapping[str, tuple[str, ...]],
    max_cost_usd: float | None,
    clashes: Sequence[Problem] = (),
) -> SweepPlan:
    """The plans of a sweep's runs under one cap, with every reason not to start any of them."""
    refusals = [*told_once([(member, plan.refusals) for member, plan in zip(members, plans, strict=True)]), *clashes]
    costs = [plan.cost for plan in plans]
    together = total(costs)
    if max_cost_usd is not None and together is not None and together.value > max_cost_usd:
        refusals.append(
            Problem(
                code="over-budget",
                path="launch.max_cost_usd",
                message=f"the {len(plans)} runs are expected to cost ${together.value:,.2f} together and the cap is ${max_cost_usd:,.2f}",
                fix="raise --max-cost, vary less, or train fewer steps",
            )
        )
    if max_cost_usd is not None:
        shares = shares_of(max_cost_usd, [cost.value if cost is not None else None for cost in costs])
        plans = [capped(plan, share) for plan, share in zip(plans, shares, strict=True)]
    return SweepPlan(
        name=members[0].sweep,
        axes=axes,
        members=tuple(members),
        plans=tuple(plans),
        max_cost_usd=max_cost_usd,
        warnings=tuple(told_once([(member, plan.warnings) for member, plan in zip(members, plans, strict=True)])),
        refusals=tuple(refusals),
    )


def shares_of(cap_usd: float, expected_usd: Sequence[float | None]) -> list[float]:
    """The cap in parts that are proportional to what the runs are expected to cost; equal ones where that is not known of all, or nothing."""
    known = [usd for usd in expected_usd if usd is not None]
    whole = sum(known)
    if len(known) < len(expected_usd) or whole <= 0:
        return [round(cap_usd / len(expected_usd), 6)] * len(expected_usd)
    return [round(cap_usd * (usd / whole), 6) for usd in known]


def capped(plan: Plan, max_cost_usd: float) -> Plan:
    """The plan under a cap it was not made with: offers above it say so and come last."""

    def judged(offer: Offer) -> Offer:
        over = offer.verdict == "ok" and offer.expected_usd is not None and offer.expected_usd.value > max_cost_usd * (1 + 1e-6)
        return replace(offer, verdict="over-budget") if over else offer

    offers = sorted((judged(offer) for offer in plan.offers), key=lambda offer: offer.verdict != "ok")
    return replace(plan, max_cost_usd=max_cost_usd, offers=tuple(offers))


def clashes_of(members: Sequence[Member], configs: Sequence[TrainingConfig]) -> list[Problem]:
    """What the runs would take from each other: places outside their own folders that two of them write to."""
    problems = []
    for option, names, what in _OWN:
        places = Counter(tuple(getattr(config, name) for name in names) for config in configs if getattr(config, option))
        shared = [place for place, count in places.items() if count > 1]
        if shared:
            runs = ", ".join(
                member.run
                for member, config in zip(members, configs, strict=True)
                if tuple(getattr(config, name) for name in names) in shared
            )
            problems.append(
                Problem(
                    code="conflict",
                    path=option,
                    message=f"{runs} {what}: {shared[0][0]}",
                    fix=f"leave it out with --set {option}=, or vary it too",
                )
            )
    return problems


def told_once(found: Sequence[tuple[Member, Sequence[Problem]]]) -> list[Problem]:
    """The problems of the runs: those of all runs once, others with the values they belong to."""
    counts = Counter(problem for _, problems in found for problem in dict.fromkeys(problems))
    told: list[Problem] = []
    for member, problems in found:
        for problem in dict.fromkeys(problems):
            # A problem of the value itself names it already.
            plain = counts[problem] == len(found) or problem.place in [f"--set {name}={value}" for name, value in member.values.items()]
            one = problem if plain else replace(problem, message=f"with {member.words}: {problem.message}")
            if one not in told:
                told.append(one)
    return told


def total(costs: Sequence[Range | None]) -> Range | None:
    """The sum of costs with their spreads added, as what makes one run dear makes its neighbours dear; None when one is not known."""
    known = [cost for cost in costs if cost is not None]
    if not known or len(known) < len(costs):
        return None
    return Range(value=sum(cost.value for cost in known), low=sum(cost.low for cost in known), high=sum(cost.high for cost in known))
