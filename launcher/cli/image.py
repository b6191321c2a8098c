"""`launcher image build|push`: the runtime image, for machines that should not install anything while they are billed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

_CPU_INDEX = "https://download.pytorch.org/whl/cpu"


def image(
    action: Annotated[Literal["build", "push"], typer.Argument(help="What to do.")],
    extra: Annotated[
        list[str] | None, typer.Argument(metavar="[-- ARGUMENT…]", help="Arguments for the tool that builds, after `--`, as they stand.")
    ] = None,
    tag: Annotated[
        str | None,
        typer.Option(
            "--tag", "-t", help="Name of the image: REGISTRY/NAME:TAG. Default: finetune-launcher:VERSION, with -cpu for that variant."
        ),
    ] = None,
    cpu: Annotated[bool, typer.Option("--cpu", help="The variant without CUDA, for tests.")] = False,
    base: Annotated[str | None, typer.Option(help="A Debian or Ubuntu image to build from instead of the pinned one.")] = None,
    torch_index: Annotated[
        str | None,
        typer.Option(help="Package index that torch comes from; an empty one is the index pip is configured with. --cpu: PyTorch's."),
    ] = None,
    builder: Annotated[str | None, typer.Option(help="docker, podman or buildah. Default: the first that is installed.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="Print the command; do nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object; what the tool says goes to stderr.")] = False,
) -> None:
    """Build the image that recipes train in, from the installed launcher and its locked training stack, or push it to its registry."""
    import shlex
    from shutil import which
    from tempfile import TemporaryDirectory

    import launcher
    from launcher.cli.output import emit_json, say
    from launcher.image.builder import Build, check_tag, digest_for, find_builder, names_registry
    from launcher.image.context import locked_torch, write_context
    from runtime.config.problem import ExitCode

    # A command that is only shown may be for another machine.
    tool = find_builder(builder, (lambda name: name) if dry_run and builder else which)
    name = tag or f"finetune-launcher:{launcher.__version__}{'-cpu' if cpu else ''}"
    check_tag(name, pushed=action == "push")
    with TemporaryDirectory(prefix="launcher-image-") as scratch:
        folder = Path(scratch)
        if action == "build":
            index = torch_index if torch_index is not None else _CPU_INDEX if cpu else ""
            arguments = {"VERSION": launcher.__version__, "REVISION": _revision(), "TORCH_VERSION": locked_torch()}
            arguments |= {"TORCH_INDEX": index, "EXTRAS": "" if cpu else "kernels"} | ({"BASE": base} if base else {})
            command = tool.build(Build(tag=name, arguments=arguments, extra=tuple(extra or ())), folder)
        else:
            command = [*tool.push(name, folder / "digest"), *(extra or ())]
        if dry_run:
            if as_json:
                emit_json("image", {"action": action, "image": name, "builder": tool.name, "command": command})
            else:
                say(shlex.join(command))
            return
        if action == "build":
            write_context(folder)
        _run(command, code=ExitCode.INVALID if action == "build" else ExitCode.REMOTE_REFUSED)
        reference = name
        if action == "push":
            written = folder / "digest"
            reference = f"{name}@{written.read_text().strip()}" if written.exists() else digest_for(name, _printed(tool.digests(name)))
    if as_json:
        emit_json("image", {"action": action, "image": reference, "builder": tool.name})
    elif action == "build":
        push = (
            f"launcher image push --tag {reference}"
            if names_registry(reference)
            else "build it with --tag REGISTRY/NAME:TAG, then push that"
        )
        say(f"built {reference}\nto push it: {push}")
    else:
        say(f"pushed {reference}\nin a recipe:\n  launch:\n    image: {reference}")


def _run(command: Sequence[str], *, code: int) -> None:
    import subprocess
    import sys

    from runtime.config.problem import ExitCode, Problem, UserError

    status = subprocess.run(command, stdout=sys.stderr, check=False).returncode
    if status:
        raise UserError(
            Problem(
                code="image",
                place=command[0],
                message=f"`{command[0]} {command[1]}` ended with status {status}",
                fix="what it said is above",
            ),
            exit_code=ExitCode(code),
        )


def _printed(command: Sequence[str] | None) -> str:
    import subprocess

    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() if command else ""


def _revision() -> str:
    """The commit of the checkout this launcher runs from; `unknown` for an installed one."""
    import launcher

    root = Path(launcher.__file__ or "").resolve().parent.parent
    if not (root / ".git").exists():
        return "unknown"
    return _printed(["git", "-C", str(root), "rev-parse", "HEAD"]) or "unknown"
