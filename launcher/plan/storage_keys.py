"""The keys of a run's S3 storage, found where boto3 finds them on this machine, as variables that can be sent along; those of others see azure_login."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from launcher.plan.azure_login import is_azure, renewed_azure_names
from runtime.config.problem import ExitCode, Problem, UserError
from runtime.config.storage import parse_address

_ID, _SECRET, _TOKEN = "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"
# A role of this machine is no use elsewhere: it is asked for at an address that only this machine has.
_OF_THIS_MACHINE = ("iam-role", "container-role")
_WAYS = {
    "shared-credentials-file": "the credentials file",
    "config-file": "the config file",
    "assume-role": "an assumed role",
    "assume-role-with-web-identity": "an assumed role",
    "sso": "single sign-on",
    "login": "`aws login`",
    "custom-process": "a process of the profile",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageKeys:
    """`variables` are the keys, and with them region and endpoint where a profile names those. `source` says where they come from; `expires` is Unix
    seconds, None for keys that do not end or do not say when."""

    variables: Mapping[str, str] = field(repr=False)
    source: str
    temporary: bool = False
    expires: float | None = None

    @property
    def secrets(self) -> tuple[str, ...]:
        """The variables that are secret."""
        return tuple(name for name in (_ID, _SECRET, _TOKEN) if name in self.variables)

    def words(self, now: float) -> str:
        """`S3 keys from profile 'work', single sign-on (temporary, 3.9 h left)`."""
        left = "" if self.expires is None else f", {max(0.0, self.expires - now) / 3600:.1f} h left"
        return f"S3 keys from {self.source}" + (f" (temporary{left})" if self.temporary else "")

    def warning(self, now: float) -> Problem | None:
        """The warning about keys that end while the run may still need them."""
        if not self.temporary:
            return None
        when = "at a time they do not tell" if self.expires is None else f"in {max(0.0, self.expires - now) / 3600:.1f} h"
        return Problem(
            code="temporary-keys",
            path="launch.storage",
            place=self.source,
            message=f"the keys of the storage are temporary and end {when}; the run can store nothing after that",
            fix="use keys of a user that do not end, or `launcher resume` the run with new ones",
        )


def storage_keys(storage: str | None, environment: Mapping[str, str]) -> StorageKeys | None:
    """The keys for a run that stores to `storage`; None when that is not S3, or when this machine has none to send.

    Raises UserError (exit 8) when a profile is named that cannot be used: it is not there, or its login has ended.
    """
    if storage is None or parse_address(storage).kind != "s3":
        return None
    if environment.get(_ID) and environment.get(_SECRET):
        found = {name: environment[name] for name in (_ID, _SECRET, _TOKEN) if environment.get(name)}
        return StorageKeys(variables=found, source="the environment", temporary=_TOKEN in found)
    return _of_profile(environment)


def with_storage_keys(storage: str | None, environment: Mapping[str, str]) -> dict[str, str]:
    """The environment with those keys in it."""
    keys = storage_keys(storage, environment)
    return {**environment, **(keys.variables if keys is not None else {})}


def renewed_names(names: Sequence[str], storage: str | None, environment: Mapping[str, str]) -> list[str]:
    """The names of a run's secrets when it is submitted again: keys of another kind than before may be here now."""
    if is_azure(storage):
        return renewed_azure_names(names, environment)
    if storage is None or parse_address(storage).kind != "s3":
        return list(names)
    kept = [name for name in names if name not in (_ID, _SECRET, _TOKEN)]
    keys = [name for name in (_ID, _SECRET) if environment.get(name) or name in names]
    return [*kept, *keys, *([_TOKEN] if environment.get(_TOKEN) else [])]


def _of_profile(environment: Mapping[str, str]) -> StorageKeys | None:
    try:
        import botocore.session
        from botocore.exceptions import BotoCoreError, ClientError
    except ImportError:
        return None
    profile = environment.get("AWS_PROFILE") or environment.get("AWS_DEFAULT_PROFILE")
    session = botocore.session.Session(profile=profile)
    home = Path(environment.get("HOME") or Path.home())
    session.set_config_variable("credentials_file", environment.get("AWS_SHARED_CREDENTIALS_FILE") or str(home / ".aws" / "credentials"))
    session.set_config_variable("config_file", environment.get("AWS_CONFIG_FILE") or str(home / ".aws" / "config"))
    try:
        resolver = session.get_component("credential_provider")
        # What this process's own environment says has been looked at.
        for provider in ("env", *_OF_THIS_MACHINE):
            resolver.remove(provider)
        credentials = session.get_credentials()
        frozen = credentials.get_frozen_credentials() if credentials is not None else None
        settings = _settings(session, environment)
    except (BotoCoreError, ClientError, OSError, EOFError) as error:
        raise UserError(_unusable(profile, error), exit_code=ExitCode.REMOTE_REFUSED) from error
    if credentials is None or frozen is None or not frozen.access_key:
        return None
    variables = {_ID: frozen.access_key, _SECRET: frozen.secret_key} | ({_TOKEN: frozen.token} if frozen.token else {})
    way = _WAYS.get(credentials.method, credentials.method)
    # Botocore has no public name for the time; keys of a file have none at all.
    expires = getattr(credentials, "_expiry_time", None)
    return StorageKeys(
        variables=variables | settings,
        source=f"profile '{profile}', {way}" if profile else way,
        temporary=bool(frozen.token),
        expires=expires.timestamp() if expires is not None else None,
    )


def _settings(session: Any, environment: Mapping[str, str]) -> dict[str, str]:
    """Region and endpoint as the profile has them, where the environment does not say otherwise."""
    profile = session.get_scoped_config()
    services = session.full_config.get("services", {}).get(profile.get("services"), {})
    s3 = services.get("s3") if isinstance(services.get("s3"), dict) else {}
    found = {
        "AWS_DEFAULT_REGION": profile.get("region"),
        "AWS_ENDPOINT_URL": profile.get("endpoint_url"),
        "AWS_ENDPOINT_URL_S3": s3.get("endpoint_url"),
    }
    told = {"AWS_DEFAULT_REGION": ("AWS_REGION", "AWS_DEFAULT_REGION"), "AWS_ENDPOINT_URL": ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3")}
    return {name: value for name, value in found.items() if value and not any(environment.get(other) for other in told.get(name, (name,)))}


def _unusable(profile: str | None, error: Exception) -> Problem:
    name = f"AWS profile '{profile}'" if profile else "the AWS profile"
    return Problem(
        code="missing-secret",
        path="launch.storage",
        place="AWS_PROFILE" if profile else "~/.aws",
        message=f"{name} gives no keys for the storage: {' '.join(str(error).split())}",
        fix=f"log in (`aws sso login{f' --profile {profile}' if profile else ''}`), name another profile, or export {_ID} and {_SECRET}",
    )
