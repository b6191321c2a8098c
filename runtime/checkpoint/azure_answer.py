"""What an answer of Azure Blob that is not a success means."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from runtime.checkpoint.busy import unavailable
from runtime.checkpoint.refusal import clock_wrong, missing_bucket, no_credentials, no_permission, refused
from runtime.checkpoint.service import ReplacedError
from runtime.config.storage import Address

# The blocks of a list may be gone by somebody else's doing, and a list may arrive damaged.
_MENDABLE = frozenset({"InvalidBlockList", "InvalidXmlDocument", "Md5Mismatch", "Crc64Mismatch"})
_REJECTED = frozenset({"AuthenticationFailed", "InvalidAuthenticationInfo", "NoAuthenticationInformation"})
# What somebody has to undo (learn.microsoft.com/rest/api/storageservices/blob-service-error-codes, 2026-11-22). It comes as 409, which else passes.
_LASTING = {
    "SnapshotsPresent": "it has snapshots, and goes only together with them",
    "BlobImmutableDueToPolicy": "a policy of the container keeps it from being changed",
    "BlobArchived": "it lies in the archive tier, and must be brought back from there first",
    "BlobBeingRehydrated": "it is on its way back from the archive tier, which takes hours",
    "InvalidBlobType": "it is no block blob",
    "ContainerDisabled": "the container was disabled by an administrator",
    # These come as 412, as a condition that does not hold does, but no condition was asked for.
    "LeaseIdMissing": "somebody holds a lease on it",
}
# An account may refuse what its keys sign, and most large organisations have it so.
_NO_KEYS = {
    "KeyBasedAuthenticationNotPermitted": "the storage account takes no keys",
    "SharedAccessSignatureNotPermitted": "the storage account takes no SAS tokens",
}
_BY_IDENTITY = (
    "take AZURE_STORAGE_CONNECTION_STRING, AZURE_STORAGE_KEY and AZURE_STORAGE_SAS_TOKEN out of the environment, and log in with an identity: "
    "AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET, or `az login`"
)
_ROLE = (
    'give the identity the role "Storage Blob Data Contributor" on the container or its account, and wait some minutes; Owner and Contributor are no such '
    "roles: they manage accounts, and read and write no blobs"
)
_ITS_TENANT = "use an identity of the tenant that has the storage account: AZURE_TENANT_ID, or az login --tenant"
_NETWORK = (
    "let this machine's network in by the storage account's firewall, or give the credentials the right to read, write, list and delete"
)
# A signature that is older, by the service's clock, is not taken (learn.microsoft.com, "Authorize with Shared Key", 2026-11-22).
_OLDEST_S = 15 * 60


def answered(error: Any, address: Address, name: str, *, reading: bool, replacing: bool = False, by_identity: bool = False) -> Exception:
    """The error a Service raises, for an `HttpResponseError` about the object `name`, or about the container where that is empty.
    `by_identity` tells that the request had a token of Entra ID.

    Messages of Azure's library may hold signed addresses, and are not repeated.
    """
    code, status, url = _code(error), int(error.status_code or 0), address.url_of(name)
    if code == "ContainerNotFound" or (status == 404 and not name):
        return missing_bucket(address)
    if code in _LASTING:
        return refused(address, name, f"{status} {code}: {_LASTING[code]}")
    if status == 412 or code == "BlobAlreadyExists" or (status == 404 and replacing):
        return ReplacedError(f"{url} was written by somebody else") if reading else FileExistsError(url)
    if status == 404:
        # A write needs nothing but the container, which is there: a moment ago, or in a moment.
        return FileNotFoundError(f"{url} is missing") if reading else ConnectionError(f"{url}: {status} {code}")
    if status in (401, 403) and (outside := _outside(error)):
        return no_credentials(address, outside)
    if code in _REJECTED and abs(late_s := _late_s(error)) > _OLDEST_S:
        return clock_wrong(address, f"it is {abs(late_s):,.0f} seconds {'behind' if late_s > 0 else 'ahead of'} the store's")
    if code in _NO_KEYS:
        return no_credentials(address, f"{_NO_KEYS[code]} ({code})", _BY_IDENTITY)
    if status == 401 or code in _REJECTED:
        return no_credentials(address, f"the store does not accept them ({code or status})", _ITS_TENANT if by_identity else "")
    if status == 403:
        fix = _NETWORK if code == "AuthorizationFailure" else _ROLE if by_identity else ""
        return no_permission(address, name, code or str(status), fix)
    # Less than 400: it was done, and the answer cannot be read.
    if status >= 500 or status < 400 or status in (408, 409, 429) or code in _MENDABLE:
        return unavailable(f"{url}: {status} {code}", _headers(error.response))
    return refused(address, name, f"{status} {code}")


def _code(error: Any) -> str:
    """The code as the service writes it: of those the library knows, it makes names in its own writing."""
    code = getattr(error, "error_code", None) or ""
    return str(getattr(code, "value", code))


def _outside(error: Any) -> str:
    """What is wrong with the times of the SAS token that the request was signed with, by the service's clock; empty when nothing is, or none was."""
    answer = getattr(error, "response", None)
    now = _moment(_headers(answer).get("Date"))
    token = dict(parse_qsl(urlsplit(str(getattr(getattr(answer, "request", None), "url", ""))).query))
    if now is not None and "sig" in token:
        for name, wrong in (("se", "has expired"), ("st", "is not valid yet")):
            moment = _written(token.get(name, ""))
            if moment is not None and (moment < now if name == "se" else moment > now):
                return f"the SAS token {wrong}: {moment.isoformat(sep=' ')}"
    return ""


def _late_s(error: Any) -> float:
    """How far this machine's clock, by which the request was signed, is behind the service's; 0 where that is not told."""
    answer = getattr(error, "response", None)
    here, there = _moment(_headers(getattr(answer, "request", None)).get("x-ms-date")), _moment(_headers(answer).get("Date"))
    return (there - here).total_seconds() if here and there else 0.0


def _headers(message: Any) -> Mapping[str, str]:
    return getattr(message, "headers", None) or {}


def _moment(text: str | None) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text) if text else None
    except ValueError:
        return None
    return moment if moment is not None and moment.tzinfo else None


def _written(text: str) -> datetime | None:
    """A moment as a token has it; without a place on earth it is UTC."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
