"""What it means that Entra ID gave no token."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from runtime.checkpoint.refusal import no_credentials
from runtime.config.storage import Address

_WAYS = {
    "EnvironmentCredential": "the service principal of the environment",
    "WorkloadIdentityCredential": "the workload identity",
    "ManagedIdentityCredential": "the managed identity of this machine",
    "AzureCliCredential": "`az login`",
    "AzurePowerShellCredential": "Azure PowerShell",
    "AzureDeveloperCliCredential": "`azd auth login`",
}
_AGAIN = "its login has ended", "log in again: az login"
_BARRED = "a policy of its tenant does not let it in from here", "ask the tenant's administrator, or use another identity"
_NO_TRUST = (
    "its application does not trust this token",
    "compare the federated credential of the application with the token's issuer and subject",
)
# Words and mending of what Entra ID refuses (learn.microsoft.com/entra/identity-platform/reference-error-codes, 2026-11-22).
_REFUSALS = {
    "90002": ("there is no such tenant", "correct AZURE_TENANT_ID"),
    "900023": ("there is no such tenant", "correct AZURE_TENANT_ID"),
    "700016": ("its tenant has no such application", "AZURE_CLIENT_ID and AZURE_TENANT_ID must belong together: correct one of them"),
    "7000229": (
        "its application is not installed in the tenant",
        "correct AZURE_TENANT_ID, or make a service principal of the application there",
    ),
    "7000215": ("its secret is wrong", "set AZURE_CLIENT_SECRET to the secret's value, which is not its id"),
    "7000222": ("its secret has expired", "make a new one (az ad app credential reset) and set AZURE_CLIENT_SECRET to it"),
    "700027": (
        "its certificate is not the application's",
        "correct AZURE_CLIENT_CERTIFICATE_PATH, or add the certificate to the application",
    ),
    "700024": ("its token or certificate is not valid now", "set this machine's clock, or renew the token"),
    "70021": _NO_TRUST,
    "700211": _NO_TRUST,
    "700213": _NO_TRUST,
    "50020": ("it is not known in the tenant", "az login --tenant TENANT, with an account of the tenant that has the storage"),
    "50034": ("it is not known in the tenant", "az login --tenant TENANT, with an account of the tenant that has the storage"),
    "50057": ("its account is disabled", "use another identity"),
    "50076": _AGAIN,
    "50078": _AGAIN,
    "50079": _AGAIN,
    "50132": _AGAIN,
    "50133": _AGAIN,
    "50173": _AGAIN,
    "70043": _AGAIN,
    "70044": _AGAIN,
    "700082": _AGAIN,
    "700084": _AGAIN,
    "53000": _BARRED,
    "53003": _BARRED,
    "530003": _BARRED,
}
# Those that are Entra ID's own trouble, from the same list.
_THEIRS = frozenset({"90012", "90033", "50196"})
_CODE = re.compile(r"AADSTS(\d{4,8})")
_PASSING = frozenset({408, 410, 429})
_TENANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,99}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """A way to a token that led nowhere. `way` is the name of azure-identity's class, `missing` whether it is not there at all, `status` the last answer of
    a server of tokens, None without one."""

    way: str
    error: BaseException
    status: int | None = None
    missing: bool = False

    @property
    def code(self) -> str:
        """Entra ID's number for what it refuses; empty where it did not say."""
        found = _CODE.search(" ".join(str(error) for error in _causes(self.error)))
        return found[1] if found else ""

    @property
    def name(self) -> str:
        """What people call this way."""
        return _WAYS.get(self.way, "another identity")


def unanswered(attempts: Sequence[Attempt], address: Address, *, before: bool, tenant: str | None = None) -> Exception:
    """ConnectionError for what may pass: a token is renewed every hour, of servers that restart too. Else UserError.

    `before` tells that there was a token already, so that silence is an outage. `tenant` is the one that the store asked a token of, if it did. No message
    holds a word of azure-identity's own but numbers.
    """
    last = attempts[-1]
    if any(_passes(attempt, before=before) for attempt in attempts):
        said = next(attempt for attempt in attempts if _passes(attempt, before=before))
        return ConnectionError(f"{address.url()}: no token for now: the server of tokens of {said.name} {_answer(said)}")
    if tenant is not None and not last.code:
        shown = tenant if _TENANT.fullmatch(tenant) else "of the storage account"
        return no_credentials(
            address,
            f"the storage account belongs to another tenant than {last.name}",
            f"use an identity of the tenant {shown}: az login --tenant, or AZURE_TENANT_ID with an application of that tenant",
        )
    refused = next((attempt for attempt in attempts if not attempt.missing or attempt.code), None)
    if refused is None:
        return no_credentials(address, f"the environment has no key, and no identity of Entra ID was found: {_looked_for(attempts)}")
    words, fix = _REFUSALS.get(refused.code, ("Entra ID gave no token", "log in again, or check the identity's variables"))
    number = f" (AADSTS{refused.code})" if refused.code else f" ({refused.status})" if refused.status else ""
    return no_credentials(address, f"{refused.name}: {words}{number}", fix)


def _looked_for(attempts: Sequence[Attempt]) -> str:
    said = {
        "EnvironmentCredential": "AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET are not all set",
        "ManagedIdentityCredential": "no managed identity answers",
        "AzureCliCredential": "`az` is not installed, not logged in or does not answer",
    }
    found = [words for way, words in said.items() if any(attempt.way == way for attempt in attempts)]
    return "; ".join(found) or "AZURE_TOKEN_CREDENTIALS leaves none that works here"


def _answer(attempt: Attempt) -> str:
    if any(type(cause).__name__ in ("SSLError", "SSLCertVerificationError") for cause in _causes(attempt.error)):
        return "has a certificate that is not trusted here (REQUESTS_CA_BUNDLE names those that are)"
    return f"answered with {attempt.status}" if attempt.status is not None and attempt.status >= 400 else "did not answer"


def _passes(attempt: Attempt, *, before: bool) -> bool:
    if attempt.code:
        return attempt.code in _THEIRS
    if attempt.status is not None and (attempt.status in _PASSING or attempt.status >= 500):
        return True
    if attempt.status is not None and attempt.status >= 400:
        return False
    if attempt.missing:
        # A login that has ended tells so; anything else that worked before and is silent now is an outage.
        return before and "az login" not in str(attempt.error)
    return _is_of_network(attempt.error)


def _is_of_network(error: BaseException) -> bool:
    from azure.core.exceptions import ServiceRequestError, ServiceResponseError

    return any(isinstance(cause, ServiceRequestError | ServiceResponseError | OSError) for cause in _causes(error))


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        # Azure's transports keep what they met under a name of their own.
        error = error.__cause__ or error.__context__ or getattr(error, "inner_exception", None)
