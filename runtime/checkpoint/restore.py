"""Finding the checkpoint to go on from: the newest that verifies, wherever it is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from runtime.checkpoint.disk import explained
from runtime.checkpoint.fetching import copy_sealed
from runtime.checkpoint.layout import CHECKPOINTS, step_folder, step_of
from runtime.checkpoint.manifest import DAMAGE, Manifest, read_manifest, verify
from runtime.checkpoint.stored import RunStore, verify_stored
from runtime.checkpoint.transit import Transit
from runtime.config.problem import ExitCode, Problem, UserError

Place = Path | RunStore
"""A local `checkpoints/` folder, or a run in a store."""
OnMismatch = Literal["ignore", "warn", "refuse"]

# A step, where it is, and whether a manifest was listed with it.
_Candidate = tuple[int, Place, bool]
# A writer that seals and drops faster than a restore reads is not to be waited out for ever.
_WALKS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A checkpoint that verified, and what was passed over to get to it."""

    step: int
    manifest: Manifest
    place: Place
    origin: str = ""
    """Where it was copied from, when it was."""
    skipped: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()

    @property
    def folder(self) -> Path | None:
        """The sealed folder on this machine; None while the checkpoint is in a store only."""
        return self.place / step_folder(self.step) if isinstance(self.place, Path) else None

    @property
    def url(self) -> str:
        """Path or address of the checkpoint."""
        return _address(self.place, self.step)

    @property
    def sentence(self) -> str:
        """What the user is told: `resuming from step 40: newest sealed checkpoint in …; step 50 skipped: model.safetensors is 3 bytes short`."""
        return "; ".join(
            [f"resuming from step {self.step}: newest sealed checkpoint in {self._where}", *(problem.message for problem in self.skipped)]
        )

    @property
    def _where(self) -> str:
        return self.origin or _name(self.place)


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """The newest good checkpoint, if there is one, and why newer ones were passed over, newest first."""

    found: Found | None
    skipped: tuple[Problem, ...]


def find_newest(
    places: Sequence[Place], *, deep: bool = True, config_hash: str | None = None, on_mismatch: OnMismatch = "warn"
) -> Found | None:
    """The checkpoint of the highest step whose manifest and files verify, in any of `places`; None when there is none.

    Of equal steps the earlier place wins, so name the local folder first. `deep` reads every byte; without it only sizes are compared.
    When `config_hash` is given and differs from the checkpoint's, `on_mismatch` decides: a warning in the result, or UserError `config-changed`.
    Raises UserError or OSError when a place cannot be listed: that a store does not answer must not look like a fresh start.
    """
    return survey(places, deep=deep, config_hash=config_hash, on_mismatch=on_mismatch).found


def survey(places: Sequence[Place], *, deep: bool = True, config_hash: str | None = None, on_mismatch: OnMismatch = "warn") -> Survey:
    """As `find_newest`, with the reasons of what was passed over also when nothing was found."""
    return _walk(places, lambda _place: deep, lambda found: _check_config(found, config_hash, on_mismatch))


def restore_newest(
    places: Sequence[Place],
    checkpoints: Path,
    *,
    near: Path | None = None,
    config_hash: str | None = None,
    on_mismatch: OnMismatch = "warn",
    transit: Transit | None = None,
) -> Survey:
    """As `survey`, with the checkpoint brought to this machine: its `folder` is sealed, in `checkpoints` or in a local place.

    What a store holds is read once, and verified while it is copied; files that a folder of that step below `near` has are copied from there. `transit` is told of what moves. A copy that does not verify is walked back past like any broken checkpoint.
    """

    def bring(found: Found) -> Found:
        checked = _check_config(found, config_hash, on_mismatch)
        if checked.folder is None:
            here = None if near is None else near / step_folder(checked.step)
            fetch(checked, checkpoints / step_folder(checked.step), near=here, transit=transit)
            return replace(checked, place=checkpoints, origin=_name(checked.place))
        return checked

    return _walk(places, lambda place: isinstance(place, Path), bring)


def fetch(found: Found, into: Path, *, near: Path | None = None, transit: Transit | None = None) -> Manifest:
    """The manifest of `into`, now a sealed local copy of `found`. As `copy_sealed`, without waiting for the disk: machines are paid for while they wait."""
    source = found.folder if found.folder is not None else found.place
    return copy_sealed(source, found.manifest, into, near=near, sync=False, transit=transit)


def _walk(places: Sequence[Place], deep: Callable[[Place], bool], accept: Callable[[Found], Found]) -> Survey:
    """The newest that verifies and that `accept` takes. What was there when the places were listed may be gone since: a writer that still lives seals
    a newer one and drops the older. So the places are listed again whenever something was passed over, until they list the same of what is newer than the
    one taken, which is itself in one place more when it was brought here."""
    listed = _candidates(places)
    for _ in range(_WALKS):
        seen = _walk_once(listed, places, deep, accept)
        if not seen.skipped:
            return seen
        again, taken = _candidates(places), -1 if seen.found is None else seen.found.step
        if [candidate for candidate in again if candidate[0] > taken] == [candidate for candidate in listed if candidate[0] > taken]:
            return seen
        listed = again
    return seen


def _walk_once(
    listed: list[_Candidate], places: Sequence[Place], deep: Callable[[Place], bool], accept: Callable[[Found], Found]
) -> Survey:
    skipped: list[Problem] = []
    for step, place, _ in listed:
        label = f"step {step}" if len(places) == 1 else f"step {step} in {_name(place)}"
        try:
            manifest = _read(place, step)
            problems = _verify(place, manifest, deep=deep(place))
            extra = tuple(problem for problem in problems if problem.code == "extra-file")
            if len(extra) < len(problems):
                raise UserError([problem for problem in problems if problem.code != "extra-file"], exit_code=ExitCode.NOT_VERIFIED)
            found = accept(Found(step=step, manifest=manifest, place=place, skipped=tuple(skipped), warnings=extra))
        except UserError as error:
            if any(problem.code not in DAMAGE | {"unsealed"} for problem in error.problems):
                raise
            skipped.append(_skip(label, error.problems, _address(place, step)))
            continue
        return Survey(found=found, skipped=tuple(skipped))
    return Survey(found=None, skipped=tuple(skipped))


def _candidates(places: Sequence[Place]) -> list[_Candidate]:
    """Newest first, and in the order of `places`."""
    found: list[_Candidate] = []
    for place in places:
        steps = _local_steps(place) if isinstance(place, Path) else place.patiently(place.steps)
        found += [(step, place, sealed) for step, sealed in steps.items()]
    return sorted(found, key=lambda candidate: -candidate[0])


def _local_steps(checkpoints: Path) -> dict[int, bool]:
    with explained(checkpoints):
        try:
            names = [entry.name for entry in checkpoints.iterdir()]
        except FileNotFoundError:
            return {}
    return {step: True for name in names if (step := step_of(name)) is not None}


def _read(place: Place, step: int) -> Manifest:
    if isinstance(place, Path):
        manifest = read_manifest(place / step_folder(step))
    else:
        try:
            manifest = place.patiently(lambda: place.manifest(f"{CHECKPOINTS}/{step_folder(step)}"))
        except FileNotFoundError as error:
            raise UserError(
                Problem(code="unsealed", message="its upload was never finished", place=_address(place, step)),
                exit_code=ExitCode.NOT_VERIFIED,
            ) from error
    if (manifest.kind, manifest.step) != ("checkpoint", step):
        raise UserError(
            Problem(
                code="bad-manifest",
                message=f"its manifest is of {manifest.kind} step {manifest.step}: the folder was renamed",
                place=_address(place, step),
            ),
            exit_code=ExitCode.NOT_VERIFIED,
        )
    return manifest


def _verify(place: Place, manifest: Manifest, *, deep: bool) -> tuple[Problem, ...]:
    if isinstance(place, Path):
        return verify(place / step_folder(manifest.step), manifest, deep=deep)
    return verify_stored(place, manifest, deep=deep)


def _check_config(found: Found, config_hash: str | None, on_mismatch: OnMismatch) -> Found:
    if config_hash is None or on_mismatch == "ignore" or found.manifest.config_hash == config_hash:
        return found
    problem = Problem(
        code="config-changed",
        message=f"the checkpoint of step {found.step} was written under another config (hash {found.manifest.config_hash[:12] or 'unset'}, now {config_hash[:12]})",
        place=found.url,
        fix="undo the change, or start in another output_dir",
    )
    if on_mismatch == "refuse":
        raise UserError(problem)
    return replace(found, warnings=(*found.warnings, problem))


def _skip(label: str, problems: Iterable[Problem], address: str) -> Problem:
    first, *rest = problems
    more = f" (and {len(rest)} more)" if rest else ""
    return Problem(
        code=first.code, message=f"{label} skipped: {first.message}{more}", place=address, fix="it is of no use; remove it when you like"
    )


def _name(place: Place) -> str:
    return str(place) if isinstance(place, Path) else place.url()


def _address(place: Place, step: int) -> str:
    return str(place / step_folder(step)) if isinstance(place, Path) else place.url(f"{CHECKPOINTS}/{step_folder(step)}")
