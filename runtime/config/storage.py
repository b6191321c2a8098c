"""The address of a store, as `launch.storage` gives it: which kind of store, and where in it."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlsplit

from runtime.config.problem import Problem, UserError

Kind = Literal["directory", "s3", "gs", "az", "hf"]

NAMES: dict[Kind, str] = {
    "directory": "a folder",
    "s3": "Amazon S3 and its kin (R2, MinIO, SeaweedFS)",
    "gs": "Google Cloud Storage",
    "az": "Azure Blob Storage",
    "hf": "the Hugging Face Hub",
}
VARIABLES: dict[Kind, str] = {
    "directory": "",
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (AWS_SESSION_TOKEN and AWS_REGION where needed), or AWS_PROFILE, or a role of this machine",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS (the path of a key file), or `gcloud auth application-default login`, or a service account of this machine",
    "az": "AZURE_STORAGE_CONNECTION_STRING, or AZURE_STORAGE_ACCOUNT with AZURE_STORAGE_KEY, AZURE_STORAGE_SAS_TOKEN or an identity of Entra ID: "
    "AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET, or `az login`, or a managed identity of this machine",
    "hf": "HF_TOKEN (a token that writes), or log in with `hf auth login`",
}
SECRETS: dict[Kind, tuple[str, ...]] = {
    "directory": (),
    "s3": (
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_SHARED_CREDENTIALS_FILE",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    ),
    "gs": ("GOOGLE_APPLICATION_CREDENTIALS",),
    "az": (
        "AZURE_STORAGE_CONNECTION_STRING",
        "AZURE_STORAGE_KEY",
        "AZURE_STORAGE_ACCOUNT_KEY",
        "AZURE_STORAGE_SAS_TOKEN",
        "AZURE_TENANT_ID",
        "AZURE_CLIENT_ID",
        "AZURE_CLIENT_SECRET",
        "AZURE_CLIENT_CERTIFICATE_PATH",
        "AZURE_CLIENT_CERTIFICATE_PASSWORD",
        "AZURE_CLIENT_SEND_CERTIFICATE_CHAIN",
        "AZURE_USERNAME",
        "AZURE_PASSWORD",
        "AZURE_FEDERATED_TOKEN_FILE",
        "AZURE_POD_IDENTITY_AUTHORITY_HOST",
        "AZURE_TOKEN_CREDENTIALS",
        "AZURE_CONFIG_DIR",
        "IDENTITY_ENDPOINT",
        "IDENTITY_HEADER",
        "IDENTITY_SERVER_THUMBPRINT",
        "IMDS_ENDPOINT",
        "MSI_ENDPOINT",
        "MSI_SECRET",
    ),
    "hf": ("HF_TOKEN",),
}
"""Variables that hold or name credentials. A process that writes to such a store is handed them, others are not."""
_KNOWN = ("file", "s3", "gs", "az", "https", "hf")
_FIX = "write a path, file:///…, s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, az://CONTAINER/PREFIX, hf://OWNER/NAME or https://ACCOUNT.blob.core.windows.net/CONTAINER/PREFIX"
_BLOB_HOST = re.compile(r"([a-z0-9]{3,24})\.blob\.[a-z0-9.-]+")
_HUB_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
_BUCKET = re.compile(r"[A-Za-z0-9$][A-Za-z0-9._-]{1,221}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where a store is. No secret is ever part of it."""

    kind: Kind
    path: str = ""
    """The folder of a directory store, as written."""
    bucket: str = ""
    """Bucket or container."""
    prefix: str = ""
    """What all keys begin with, without slashes at its ends; may be empty."""
    endpoint: str = ""
    """Address of the server when it is not the provider's own."""
    revision: str = ""
    """The branch of a repository when it is not `main`."""

    def url(self, key: str = "") -> str:
        """The address of `key`, for people; `parse_address` reads it again as a store that begins there."""
        return self.url_of("/".join(part for part in (self.prefix, key) if part))

    def url_of(self, name: str) -> str:
        """The address of an object by its whole name, prefix included."""
        if self.kind == "az" and _BLOB_HOST.fullmatch(self.endpoint.removeprefix("https://")):
            return f"{self.endpoint}/{self.bucket}/{quote(name)}".rstrip("/")
        if self.kind == "hf":
            branch = f"@{quote(self.revision, safe='')}" if self.revision else ""
            return f"hf://{self.bucket}{branch}/{quote(name)}".rstrip("/")
        query = f"?endpoint={quote(self.endpoint, safe=':/')}" if self.endpoint else ""
        return f"{self.kind}://{self.bucket}/{quote(name)}".rstrip("/") + query


def parse_address(url: str) -> Address:
    """The address in `url`. Raises UserError: `unknown-name`, `unsupported` for a scheme, `wrong-type` for a shape, `secret-in-url`."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        return _folder(url, url)
    scheme = scheme.lower()
    if scheme == "file":
        host, slash, path = rest.partition("/")
        if slash and host in ("", "localhost"):
            return _folder(unquote(f"/{path}"), url)
        raise _wrong("a file address has three slashes and an absolute path", url, f"write file:///{rest}")
    if scheme == "hf":
        return _repository(rest, url)
    if scheme not in _KNOWN:
        near = difflib.get_close_matches(scheme, _KNOWN, n=1)
        raise UserError(
            Problem(
                code="unknown-name",
                message=f"no store is known for {scheme}:// addresses; known are file, s3, gs, az and https (Azure Blob)",
                place=_without_userinfo(url),
                fix=_FIX,
                suggestion=f"{near[0]}://" if near else None,
            )
        )
    return _bucket(scheme, url)


def _bucket(scheme: str, url: str) -> Address:
    shown = _without_userinfo(url)
    try:
        parts = urlsplit(url)
        options = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
    except ValueError as error:
        raise _wrong(f"this is no address: {error}", shown, _FIX) from None
    if parts.username is not None or parts.password is not None or "sig" in options:
        raise UserError(
            Problem(
                code="secret-in-url",
                message="an address holds no credentials: it is written to files and logs",
                place=shown,
                fix="take them out of the address and put them into the environment",
            )
        )
    kind, bucket, path, endpoint = _located(scheme, parts, shown)
    endpoint = _endpoint(kind, options, shown) or endpoint
    if not _BUCKET.fullmatch(bucket):
        raise _wrong(f"{bucket!r} is no name of a bucket or container", shown, _FIX)
    prefix = unquote(path).strip("/")
    _require_plain(prefix, shown)
    if parts.fragment:
        raise _wrong("an address has no #part", shown, "write %23 for a # in a name")
    return Address(kind=kind, bucket=bucket, prefix=prefix, endpoint=endpoint)


def _repository(rest: str, url: str) -> Address:
    owner, _, below = rest.partition("/")
    repository, _, prefix = below.partition("/")
    name, at, revision = repository.partition("@")
    prefix = unquote(prefix).strip("/")
    if (
        owner in ("datasets", "spaces", "buckets")
        or not (_HUB_NAME.fullmatch(owner) and _HUB_NAME.fullmatch(name))
        or (at and not revision)
    ):
        raise _wrong("a repository of the Hub is OWNER/NAME", url, "write hf://OWNER/NAME or hf://OWNER/NAME@BRANCH/PREFIX")
    _require_plain(prefix, url)
    return Address(kind="hf", bucket=f"{owner}/{name}", prefix=prefix, revision=unquote(revision))


def _require_plain(prefix: str, shown: str) -> None:
    if prefix and (any(part in ("", ".", "..") for part in prefix.split("/")) or re.search(r"[\x00-\x1f\x7f\\]", prefix)):
        raise _wrong(
            "the path below the bucket has an empty part, a dot part or a control character",
            shown,
            "write plain names between single slashes",
        )


def _located(scheme: str, parts: SplitResult, shown: str) -> tuple[Kind, str, str, str]:
    """Kind, bucket, path below it, endpoint."""
    if scheme != "https":
        return ("s3" if scheme == "s3" else "gs" if scheme == "gs" else "az"), parts.netloc, parts.path, ""
    if _BLOB_HOST.fullmatch(parts.netloc.lower()) is None:
        raise _wrong(
            "https addresses are those of Azure Blob: https://ACCOUNT.blob.core.windows.net/CONTAINER/PREFIX",
            shown,
            "for another S3 server write s3://BUCKET/PREFIX?endpoint=https://HOST",
        )
    container, _, path = parts.path.lstrip("/").partition("/")
    return "az", container, path, f"https://{parts.netloc.lower()}"


def _endpoint(kind: Kind, options: dict[str, str], shown: str) -> str:
    known = ("endpoint",) if kind in ("s3", "az") else ()
    for name in options:
        if name not in known:
            raise _wrong(f"an address of {NAMES[kind]} has no {name!r}", shown, f"known: {', '.join(known) or 'nothing after the ?'}")
    endpoint = options.get("endpoint", "")
    if "endpoint" in options:
        found = urlsplit(endpoint)
        if found.scheme not in ("http", "https") or not found.netloc or "@" in found.netloc or found.query:
            raise _wrong("an endpoint is http://HOST:PORT or https://HOST, without credentials", shown, "write ?endpoint=https://HOST")
    return endpoint.rstrip("/")


def _folder(path: str, url: str) -> Address:
    if not path.strip() or "\0" in path:
        raise UserError(
            Problem(
                code="wrong-type",
                message="a storage address is a path or a URL",
                place=repr(url),
                fix="write an absolute path or file:///…",
            )
        )
    return Address(kind="directory", path=path)


def _without_userinfo(url: str) -> str:
    """For messages: what stands before an @ or after a ? may be a secret that does not belong there."""
    return re.sub(r"(?<=://)[^/@]*@", "…@", re.sub(r"(?<=[?&])(?!endpoint=)([^=&]*)=[^&]*", r"\1=…", url))


def _wrong(message: str, place: str, fix: str) -> UserError:
    return UserError(Problem(code="wrong-type", message=message, place=place, fix=fix))
