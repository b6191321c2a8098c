"""SkyPilot's exceptions as problems with a way out. Told by their class's name, so that nothing of SkyPilot is imported for it."""

from __future__ import annotations

import re

from runtime.config.problem import ExitCode, Problem, UserError

_COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_LOGIN = frozenset(
    {
        "NoCloudAccessError",
        "CloudUserIdentityError",
        "InvalidCloudCredentials",
        "PermissionDeniedError",
        "NoWorkspaceAccessError",
        "ApiServerAuthenticationError",
    }
)
_SERVER = frozenset(
    {
        "ApiServerConnectionError",
        "ServerTemporarilyUnavailableError",
        "APIVersionMismatchError",
        "APINotSupportedError",
        "ClientError",
        "RequestCancelled",
    }
)
_MOST_REASONS = 12


def refused(error: BaseException, *, doing: str) -> UserError:
    """What SkyPilot refused while `doing` something, for the user."""
    kind = type(error).__name__
    said = plain(str(error))
    if kind in ("ResourcesUnavailableError", "ProvisionPrechecksError", "ManagedJobReachedMaxRetriesError"):
        return UserError(no_capacity(said, tried(error)), exit_code=ExitCode.NO_CAPACITY)
    if kind in _LOGIN or ("sky check" in said and "enabled" in said):
        return _remote(
            "credentials",
            f"{doing}: no cloud can be used: {first_line(said)}",
            "log in to a cloud and run `sky check`, which says for each cloud what is missing (AWS: aws configure; GCP: gcloud auth application-default login; Lambda, RunPod, Nebius: an API key)",
        )
    if kind in _SERVER:
        return _remote("no-server", f"{doing}: {first_line(said)}", "`sky api info` shows its server, `sky api start` starts one here")
    return _remote(
        "remote-refused",
        f"{doing}: {first_line(said) or kind}",
        "`launcher render FILE --task` prints the task; `sky launch` on it shows all that SkyPilot says",
    )


def _remote(code: str, message: str, fix: str) -> UserError:
    return UserError(Problem(code=code, message=message, place="SkyPilot", fix=fix), exit_code=ExitCode.REMOTE_REFUSED)


def no_capacity(said: str, reasons: list[str]) -> Problem:
    """No machine to be had, with the reason each place gave."""
    listed = "".join(f"\n  {reason}" for reason in reasons[:_MOST_REASONS])
    more = f"\n  … and {len(reasons) - _MOST_REASONS} more" if len(reasons) > _MOST_REASONS else ""
    return Problem(
        code="no-capacity",
        message=f"no machine is to be had: {first_line(said)}{listed}{more}",
        place="SkyPilot",
        fix="allow more: several --gpus kinds as a list in launch.gpus, another --region or none, --spot or --on-demand; `launcher offers` lists what there is",
    )


def tried(error: BaseException) -> list[str]:
    """What each place that was tried answered, once each."""
    reasons = getattr(error, "failover_history", None) or getattr(error, "reasons", None) or []
    return list(dict.fromkeys(first_line(plain(str(reason))) for reason in reasons))


def first_line(text: str) -> str:
    """The first line that says something."""
    return next((line.strip() for line in text.splitlines() if line.strip()), "")


def plain(text: str) -> str:
    """Text without a terminal's colours."""
    return _COLOUR.sub("", text)
