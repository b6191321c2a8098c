"""How a rented machine logs in to a run's storage at Azure: with what it is sent, or with an identity of its own, which cannot be seen from here."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from launcher.plan.enabled import OF_ONES_OWN
from runtime.config.problem import ExitCode, Problem, UserError
from runtime.config.storage import SECRETS, parse_address

if TYPE_CHECKING:
    from launcher.plan.offer import Offer
    from runtime.config.launch import LaunchConfig

_KEYS = ("AZURE_STORAGE_CONNECTION_STRING", "AZURE_STORAGE_KEY", "AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_SAS_TOKEN")
_PRINCIPAL = ("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET")
# Files that an image may have, for who names them in `launch.secrets`: the path is sent, the file is not.
_FILES = ("AZURE_FEDERATED_TOKEN_FILE", "AZURE_CLIENT_CERTIFICATE_PATH")
# Where a machine may have an identity of Entra ID: SkyPilot gives each one at Azure one, which has no role on blobs unless somebody gives it one.
_WITH_IDENTITIES = OF_ONES_OWN | {"azure"}


def sent_names(environment: Mapping[str, str]) -> tuple[str, ...]:
    """The variables with which a machine elsewhere logs in to Azure as this one does: its keys, or a service principal, or the ids of an identity."""
    return tuple(name for name in _KEYS if environment.get(name)) or tuple(name for name in _PRINCIPAL if environment.get(name))


def is_azure(storage: str | None) -> bool:
    """Whether that storage is Azure's."""
    return storage is not None and parse_address(storage).kind == "az"


def renewed_azure_names(names: Sequence[str], environment: Mapping[str, str]) -> list[str]:
    """The names of a run's secrets when it is submitted again: another way in than before may be here now. Where there is none, the names stay, and are
    missed."""
    found = sent_names(environment)
    had = [name for name in names if name in (*_KEYS, *_PRINCIPAL)]
    if not _complete(found) and _complete(had):
        return list(names)
    return [*(name for name in names if name not in had), *found]


def login_problems(launch: LaunchConfig, environment: Mapping[str, str], offers: Sequence[Offer]) -> tuple[list[Problem], list[Problem]]:
    """Warnings and refusals of a run whose storage this computer can log in to and its machine, as far as can be seen, cannot."""
    if not is_azure(launch.storage) or _complete(sent_names(environment)) or any(name in launch.secrets for name in (*_KEYS, *_FILES)):
        return [], []
    clouds = {launch.cloud} if launch.cloud is not None else {offer.cloud for offer in offers}
    may = bool(clouds) and clouds <= _WITH_IDENTITIES
    problem = Problem(
        code="no-login",
        path="launch.storage",
        place=launch.storage or "",
        message="nothing is sent with which the machine could log in to the storage: `az login`, certificates and identities of this computer stay here"
        + ("; it needs a managed identity of its own" if may else ", and machines outside Azure have no managed identity"),
        fix=(
            'give its managed identity the role "Storage Blob Data Contributor" on the container (SkyPilot: azure.remote_identity in ~/.sky/config.yaml '
            "names one), or export AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET of a service principal that has it: they travel sealed"
        )
        if may
        else (
            'export AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET of a service principal that has the role "Storage Blob Data Contributor" on the '
            "container (az ad sp create-for-rbac makes one): they travel sealed; or rent at Azure alone: --cloud azure"
        ),
    )
    return ([problem], []) if may else ([], [problem])


def check_login(launch: LaunchConfig, environment: Mapping[str, str], offers: Sequence[Offer]) -> None:
    """Raise UserError (exit 8) for those refusals."""
    if refusals := login_problems(launch, environment, offers)[1]:
        raise UserError(refusals, exit_code=ExitCode.REMOTE_REFUSED)


def unsent(environment: Mapping[str, str]) -> frozenset[str]:
    """The variables of Azure that stay here unless a recipe names them: those of files and services of this machine, and what keys make needless."""
    return frozenset(SECRETS["az"]) - {*sent_names(environment)}


def _complete(names: Collection[str]) -> bool:
    return any(name in names for name in _KEYS) or all(name in names for name in _PRINCIPAL)
