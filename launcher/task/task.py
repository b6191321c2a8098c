"""The SkyPilot task of a run, rendered from a template that its user can read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from launcher.recipe.template import render_template
from launcher.task.inputs import INPUTS, Input
from launcher.task.resources import Choice
from launcher.task.scalars import scalar, text_block
from runtime.config.problem import Problem, UserError
from runtime.config.resources import data_dir

if TYPE_CHECKING:
    from runtime.config.schema import TrainingConfig

MOVED_ON = 75
"""Exit status of a machine's part of a run that goes on elsewhere: the machine is going away. Sealed or not, the job is to be recovered (EX_TEMPFAIL)."""

HOME = "~/.launcher"
"""Where everything of ours lies on a rented machine. The scripts and the node's own code say the same."""

_IDLE_MINUTES = 5
# Besides: what a shell reports of a process killed by SIGKILL and by SIGTERM.
_RECOVERED = (MOVED_ON, 137, 143)


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """Everything the template shows. `disk_gb` None leaves the disk to the cloud; `memory_gib` is the least host memory of a machine, None for any; `wheel` None means that the image has the launcher."""

    run: str
    config_text: str
    choices: tuple[Choice, ...]
    ordered: bool = False
    """The choices are tried in their order, rather than by their price."""
    nodes: int = 1
    disk_gb: int | None = None
    memory_gib: int | None = None
    image: str | None = None
    ports: tuple[int, ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()
    inputs: tuple[Input, ...] = ()
    wheel: Path | None = None

    @property
    def mounts(self) -> dict[str, str]:
        """What SkyPilot copies: from where it will lie to where it lies here."""
        mounts = {f"{HOME}/{INPUTS}/{item.name}": str(item.source) for item in self.inputs}
        if self.wheel is not None:
            mounts[f"{HOME}/wheel/{self.wheel.name}"] = str(self.wheel)
        return mounts


def node_config(config: TrainingConfig, *, run: str) -> TrainingConfig:
    """The config as the rented machine trains with it: under the run's name, writing to a folder of ours there, which any later machine has too."""
    launch = config.launch.model_copy(update={"name": run, "cloud": "local"})
    return config.model_copy(update={"output_dir": "output", "launch": launch})


def render_task(task: Task, *, folders: Sequence[Path] = ()) -> str:
    """The task as YAML with comments. A template `sky/task.yml.jinja` in `folders` wins over the shipped one.

    Raises UserError for a template that cannot be rendered, and for local paths that SkyPilot would take for something else.
    """
    _refuse_odd_paths(task)
    shipped = data_dir("templates") / "sky"
    template = next((own for folder in folders if (own := folder / "sky" / "task.yml.jinja").is_file()), shipped / "task.yml.jinja")
    # Every value is YAML before the template sees it, so that none can end its line, open a brace or start a key.
    variables = {
        "run": scalar(task.run),
        "nodes": task.nodes,
        "choices": [_choice(choice) for choice in task.choices],
        "ordered": task.ordered,
        "disk_gb": task.disk_gb,
        "memory_gib": task.memory_gib,
        "image": scalar(f"docker:{task.image}") if task.image else None,
        "ports": scalar(list(task.ports)) if task.ports else None,
        "spot": any(choice.spot for choice in task.choices),
        "idle_minutes": _IDLE_MINUTES,
        "recovered": list(_RECOVERED),
        "settings": [(name, scalar(value)) for name, value in sorted(task.settings.items())],
        "config": text_block(task.config_text, indent=4),
        "secrets": list(task.secrets),
        "mounts": [(scalar(target), scalar(source)) for target, source in task.mounts.items()],
        "setup": (shipped / "setup.sh").read_text(encoding="utf-8").rstrip(),
        "script": (shipped / "run.sh").read_text(encoding="utf-8").rstrip(),
    }
    text = render_template(template.read_text(encoding="utf-8"), file=str(template), variables=variables, folders=tuple(folders))
    _refuse_what_is_no_task(text, template)
    return text


def _choice(choice: Choice) -> dict[str, str]:
    return {
        "infra": scalar(choice.infra) if choice.infra else "",
        "accelerators": scalar(choice.gpus),
        "use_spot": "true" if choice.spot else "false",
    }


def _refuse_what_is_no_task(text: str, template: Path) -> None:
    """A template of the user's own may write anything."""
    import yaml

    try:
        wrong = "" if isinstance(yaml.safe_load(text), dict) else "it is no list of `key: value` lines"
    except yaml.YAMLError as error:
        wrong = " ".join(str(error).split())
    if wrong:
        raise UserError(
            Problem(
                code="yaml",
                file=str(template),
                message=f"what this template gives is no task of SkyPilot: {wrong}",
                fix='Build on the shipped one: `{% extends "shipped/sky/task.yml.jinja" %}`.',
            )
        )


def _refuse_odd_paths(task: Task) -> None:
    # SkyPilot fills variables of the task into paths, and takes `name://` for a bucket.
    odd = [source for source in task.mounts.values() if "$" in source or "://" in source]
    if odd:
        raise UserError(
            [
                Problem(
                    code="wrong-type",
                    place=source,
                    message="SkyPilot cannot copy a path with $ or :// in it",
                    fix="rename it, or link to it",
                )
                for source in odd
            ]
        )
