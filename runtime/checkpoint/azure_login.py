"""An identity of Entra ID that signs requests to Azure Blob."""

from __future__ import annotations

import logging
import os
import threading
from typing import Any

from runtime.checkpoint.azure_token import Attempt, unanswered
from runtime.checkpoint.refusal import no_credentials, package_missing
from runtime.config.storage import Address

# Until a server of tokens is connected, and between two pieces of its answer. One on the machine itself answers at once, or is not there: a network that
# swallows requests to its address must not hold anybody up.
_CONNECT_S, _READ_S = 5.0, 10.0
# An answer such as 500 is asked for so often again within a second: for five more, the library repeats what it was told.
_REPEATS = 2
# `az` is a Python program that may ask a server itself (SkyPilot gives it as long).
_TOOL_S = 30


class Login:
    """A credential of Azure's library: the first that gives a token of those `DefaultAzureCredential` tries, in its order. A service principal of the
    environment, a workload identity, a managed identity of this machine, `az login` and its like. AZURE_TOKEN_CREDENTIALS chooses among them.

    Tokens are kept and renewed by azure-identity, minutes before they end. Raises ConnectionError for what may pass, else UserError, without a word of
    that library's messages, which hold addresses and ids.
    """

    def __init__(self, address: Address) -> None:
        try:
            from azure.identity import CredentialUnavailableError, DefaultAzureCredential
        except ImportError as error:
            raise package_missing(address, error, "azure-identity") from error
        for name in ("azure.identity", "msal"):
            # What they warn of is said here, and nothing of it belongs into a log.
            logging.getLogger(name).setLevel(logging.ERROR)
        self._address = address
        self._unavailable: type[Exception] = CredentialUnavailableError
        self._asked = threading.local()
        # By the names of the ways: an answer that the library repeats from memory tells no status.
        self._statuses: dict[str, int] = {}
        self._found: Any = None
        try:
            self._ways: tuple[Any, ...] = DefaultAzureCredential(
                disable_instance_discovery=_is_private(os.environ.get("AZURE_AUTHORITY_HOST", "")),
                process_timeout=_TOOL_S,
                connection_timeout=_CONNECT_S,
                read_timeout=_READ_S,
                retry_total=_REPEATS,
                retry_connect=0,
                retry_read=0,
                retry_status=_REPEATS,
                retry_backoff_factor=0.4,
                raw_response_hook=self._note,
            ).credentials
        except (ValueError, OSError) as error:
            raise no_credentials(
                address,
                f"the identity that the environment describes cannot be used ({type(error).__name__})",
                f"correct {', '.join(_described()) or 'the variables of the identity'}",
            ) from None

    def get_token_info(self, *scopes: str, options: Any = None) -> Any:
        """A token for `scopes` with the time at which it ends. Azure's library calls this in any thread."""
        attempts: list[Attempt] = []
        for way in self._ways if self._found is None else (self._found,):
            name = self._asked.way = getattr(way, "_credential_name", type(way).__name__)
            try:
                token = way.get_token_info(*scopes, options=options)
            # The credentials raise what their transports do, and each of that is an answer here.
            except Exception as error:  # noqa: BLE001
                missing = isinstance(error, self._unavailable)
                attempts.append(Attempt(way=name, error=error, status=self._statuses.get(name), missing=missing))
                if not missing:
                    break
            else:
                self._found = way
                return token
        raise unanswered(attempts, self._address, before=self._found is not None, tenant=(options or {}).get("tenant_id")) from None

    def get_token(self, *scopes: str, **options: Any) -> Any:
        """The same for the library's older versions; newer ones know a credential by it."""
        from azure.core.credentials import AccessToken

        known = {name: value for name, value in options.items() if name in ("claims", "tenant_id", "enable_cae") and value}
        token = self.get_token_info(*scopes, options=known)
        return AccessToken(token.token, token.expires_on)

    def _note(self, response: Any) -> None:
        self._statuses[self._asked.way] = int(response.http_response.status_code)


def _is_private(authority: str) -> bool:
    """Whether Microsoft's list of authorities cannot know this one: that of a cloud of one's own, which only the user can vouch for."""
    from azure.identity import AzureAuthorityHosts

    known = (AzureAuthorityHosts.AZURE_PUBLIC_CLOUD, AzureAuthorityHosts.AZURE_GOVERNMENT, AzureAuthorityHosts.AZURE_CHINA)
    host = authority.removeprefix("https://").strip("/ ").lower()
    return bool(host) and host not in known


def _described() -> list[str]:
    names = (
        "AZURE_TENANT_ID",
        "AZURE_CLIENT_ID",
        "AZURE_CLIENT_CERTIFICATE_PATH",
        "AZURE_AUTHORITY_HOST",
        "AZURE_FEDERATED_TOKEN_FILE",
        "AZURE_TOKEN_CREDENTIALS",
    )
    return [name for name in names if os.environ.get(name)]
