"""Amazon S3 and the servers that speak as it does, by botocore, the part of boto3 that makes requests."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, cast

from runtime.checkpoint.bandwidth import Bandwidth, Unlimited
from runtime.checkpoint.body import Body
from runtime.checkpoint.busy import unavailable
from runtime.checkpoint.checksum import Digest
from runtime.checkpoint.crc import Crc64, written
from runtime.checkpoint.jitter import keep_random_state
from runtime.checkpoint.multipart import LEAST_BYTES, Multipart, UploadGoneError
from runtime.checkpoint.objects import ObjectStore
from runtime.checkpoint.parts import SLOTS, Parts, sum_file
from runtime.checkpoint.received import received
from runtime.checkpoint.refusal import (
    clock_wrong,
    is_plain_refusal,
    missing_bucket,
    no_credentials,
    no_permission,
    package_missing,
    refused,
)
from runtime.checkpoint.renewal import Renewal
from runtime.checkpoint.retry import again
from runtime.checkpoint.service import CONNECT_S, READ_S, Head, Pieces, ReplacedError
from runtime.config.problem import UserError
from runtime.config.storage import Address

_REJECTED_KEYS = frozenset(
    "InvalidAccessKeyId SignatureDoesNotMatch ExpiredToken InvalidToken TokenRefreshRequired InvalidSecurity AuthFailure".split()  # noqa: SIM905
)
# What S3 answers to a body that does not match its announced checksum.
_BAD_BODY = frozenset({"BadDigest", "XAmzContentChecksumMismatch", "InvalidDigest", "XAmzContentSHA256Mismatch"})
# The most that one request may copy is 5 GB; smaller pieces are copied beside each other and end within a request's time.
_COPY_BYTES = 1 << 30
_RANGE = re.compile(r"bytes[ =](\d+)-")
# Of a file: what arrives does not wait in memory.
_SPAN_BYTES = 64 << 20
# Of an answer: what each of several threads holds of it at a time, which stays in the processor's cache between arriving, being summed and being written.
_PIECE_BYTES = 384 << 10


class S3Store(ObjectStore):
    """A bucket of S3. Keys come from where Amazon's library looks for them, which starts with the environment."""

    def __init__(self, address: Address, bandwidth: Bandwidth | None = None) -> None:
        super().__init__(_S3(address), bandwidth or Unlimited())


class _S3:
    parallel = "s3"
    span_bytes, most_span_bytes = _SPAN_BYTES, 4 * _SPAN_BYTES

    def __init__(self, address: Address) -> None:
        try:
            import botocore.session
            from botocore.config import Config

            self._crc = Crc64()
        except ImportError as error:
            raise package_missing(address, error, "boto3[crt]>=1.44") from error
        self.address = address
        own = bool(address.endpoint or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL"))
        # Requests are repeated by `again`: the library draws its pauses from the generator that training draws from.
        # The body's integrity is vouched for by CRC64NVME, or by reading back; hashing it with SHA-256 as well, as plain http does by default,
        # costs more than everything else together. Old servers know no trailing checksums, so those are used only where the probe found them.
        config = Config(
            retries={"mode": "standard", "total_max_attempts": 1},
            connect_timeout=CONNECT_S,
            read_timeout=READ_S,
            max_pool_connections=2 * SLOTS,
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            s3={"payload_signing_enabled": False, **({"addressing_style": "path"} if own else {})},
        )
        with self._explained("", reading=True):
            session = botocore.session.Session()
            session.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=_time)
            region = session.get_config_variable("region") or "us-east-1"
            # The object that the client signs with.
            self._keys: Any = session.get_credentials()
            self._client: Any = session.create_client("s3", endpoint_url=address.endpoint or None, region_name=region, config=config)
        self._renewal = Renewal(self._replace_keys)
        keep_random_state("botocore", "urllib3")

    def head(self, name: str) -> Head | None:
        try:
            with self._explained(name, reading=True):
                answer = self._client.head_object(Bucket=self.address.bucket, Key=name, ChecksumMode="ENABLED")
        except FileNotFoundError:
            return None
        except UserError:
            self._ask_why(name)
            raise
        if "ContentLength" not in answer:
            raise ConnectionError(f"{self.address.url_of(name)}: the answer does not tell how large it is")
        return Head(
            name=name,
            size=answer["ContentLength"],
            version=answer.get("ETag"),
            checksum=answer.get("ChecksumCRC64NVME"),
            modified=answer["LastModified"].timestamp() if "LastModified" in answer else None,
        )

    def begin(self, name: str, count: int) -> tuple[Head, Pieces | None] | None:
        try:
            with self._explained(name, reading=True):
                answer = self._client.get_object(Bucket=self.address.bucket, Key=name, Range=f"bytes=0-{count - 1}")
        except FileNotFoundError:
            return None
        except UserError:
            # An empty object has no first byte and is refused for that; other refusals are told here too, or by the next request.
            return self._told_apart(name)
        self._require_from(0, name, answer)
        size = _whole_bytes(answer)
        if size is None:
            answer["Body"].close()
            return self._told_apart(name)
        return Head(name=name, size=size, version=answer.get("ETag")), self._pieces(name, answer)

    def _told_apart(self, name: str) -> tuple[Head, None] | None:
        head = self.head(name)
        return None if head is None else (head, None)

    def get(self, head: Head, offset: int, count: int) -> Pieces:
        same = {"IfMatch": head.version} if head.version else {}
        with self._explained(head.name, reading=True):
            answer = self._client.get_object(
                Bucket=self.address.bucket, Key=head.name, Range=f"bytes={offset}-{offset + count - 1}", **same
            )
        self._require_from(offset, head.name, answer)
        yield from self._pieces(head.name, answer)

    def _pieces(self, name: str, answer: Any) -> Pieces:
        with self._explained(name, reading=True), answer["Body"] as body:
            yield from received(body, _PIECE_BYTES)

    def _require_from(self, offset: int, name: str, answer: Any) -> None:
        """Raises ConnectionError unless the content of `answer` is said to be that from `offset` on."""
        status, told = int(answer["ResponseMetadata"]["HTTPStatusCode"]), answer.get("ContentRange", "")
        where = _RANGE.match(told)
        # The library takes any number below 300 for an answer, also one that only announces the real one.
        if (status == 200 and not offset) or (status == 206 and (where is None or int(where[1]) == offset)):
            return
        answer["Body"].close()
        raise ConnectionError(
            f"{self.address.url_of(name)}: asked for it from byte {offset:,} on, the store answered {status} {told}".rstrip()
        )

    def put(self, name: str, content: bytes, *, create: bool, replaces: str | None, checksums: bool = False) -> None:
        condition = {"IfNoneMatch": "*"} if create else {"IfMatch": replaces} if replaces is not None else {}
        announced = {"ChecksumCRC64NVME": written(self._crc.of(content))} if checksums else {}
        with self._explained(name, replacing=replaces is not None):
            self._client.put_object(Bucket=self.address.bucket, Key=name, Body=content, **condition, **announced)

    def send(self, name: str, source: Path, parts: Parts, *, checksums: bool) -> tuple[Digest, str | None]:
        size = source.stat().st_size
        if size <= LEAST_BYTES:
            digest, crc = self._send_whole(name, source, size, parts, checksums=checksums)
        else:
            digest, crc = self._multipart(name).send(source, size, parts, checksums=checksums)
        return digest, None if crc is None else written(crc)

    def sums(self, source: Path, *, checksums: bool) -> tuple[Digest, str | None]:
        total = 0

        def also(content: memoryview) -> None:
            nonlocal total
            total = self._crc.of(content, total)

        digest = sum_file(source, also)
        return digest, written(total) if checksums else None

    def copy(self, name: str, origin: Head, *, checksums: bool) -> None:
        if origin.size > _COPY_BYTES:
            self._multipart(name).copy(origin, _COPY_BYTES, checksums=checksums)
            return
        asked = {"ChecksumAlgorithm": "CRC64NVME"} if checksums else {}
        same = {"CopySourceIfMatch": origin.version} if origin.version else {}
        with self._explained(name, reading=True):
            self._client.copy_object(
                Bucket=self.address.bucket, Key=name, CopySource={"Bucket": self.address.bucket, "Key": origin.name}, **asked, **same
            )

    def drop_unfinished(self, prefix: str, dropped: Callable[[str], bool]) -> None:
        with self._explained(prefix, reading=True):
            for page in self._client.get_paginator("list_multipart_uploads").paginate(Bucket=self.address.bucket, Prefix=prefix):
                for found in page.get("Uploads", ()):
                    if dropped(found["Key"]):
                        self._multipart(found["Key"]).abort(found["UploadId"])

    def list(self, prefix: str) -> Iterator[Head]:
        token: str | None = ""
        while token is not None:
            found, token = again(lambda after=token: self._page(prefix, after))  # type: ignore[misc]
            yield from found

    def folders(self, prefix: str) -> Iterator[str]:
        token: str | None = ""
        while token is not None:
            answer, token = again(lambda after=token: self._answer_of(prefix, after, Delimiter="/"))  # type: ignore[misc]
            yield from (found["Prefix"] for found in answer.get("CommonPrefixes", ()))

    def delete(self, name: str) -> None:
        with suppress(FileNotFoundError), self._explained(name, reading=True):
            self._client.delete_object(Bucket=self.address.bucket, Key=name)

    def refuses_wrong_checksum(self, name: str) -> bool:
        content = b"this is not what was announced"
        announced = self._crc.of(content) ^ 1
        try:
            with self._explained(name):
                self._client.put_object(Bucket=self.address.bucket, Key=name, Body=content, ChecksumCRC64NVME=written(announced))
        except ConnectionAbortedError:
            return True
        except UserError as error:
            if not is_plain_refusal(error):
                raise
        return False

    def _ask_why(self, name: str) -> None:
        """Raises what is wrong, where the same asked by GET tells it: an answer to HEAD has no room for more than a number."""
        with suppress(FileNotFoundError):
            try:
                with self._explained(name, reading=True):
                    self._client.get_object(Bucket=self.address.bucket, Key=name, Range="bytes=0-0")["Body"].close()
            except UserError as error:
                if not is_plain_refusal(error):
                    raise

    def _replace_keys(self) -> bool:
        """Whether there are others by now than those in use: who renews them writes them into Amazon's file. What the library renews is left to it."""
        import botocore.session
        from botocore.credentials import Credentials

        with suppress(Exception):
            found = botocore.session.Session().get_credentials()
            if type(found) is type(self._keys) is Credentials and found.get_frozen_credentials() != self._keys.get_frozen_credentials():
                self._keys.access_key, self._keys.secret_key, self._keys.token = found.access_key, found.secret_key, found.token
                return True
        return False

    def _page(self, prefix: str, token: str) -> tuple[Sequence[Head], str | None]:
        answer, following = self._answer_of(prefix, token)
        heads = [
            Head(name=found["Key"], size=found["Size"], modified=found["LastModified"].timestamp()) for found in answer.get("Contents", ())
        ]
        return heads, following

    def _answer_of(self, prefix: str, token: str, **options: str) -> tuple[dict[str, Any], str | None]:
        """A page of a list, and what to go on with; None at the end. No paginator: after a failed page it says that it has ended."""
        after = {"ContinuationToken": token} if token else {}
        with self._explained(prefix, reading=True):
            answer: dict[str, Any] = self._client.list_objects_v2(Bucket=self.address.bucket, Prefix=prefix, **after, **options)
        return answer, answer.get("NextContinuationToken") if answer.get("IsTruncated") else None

    def _send_whole(self, name: str, source: Path, size: int, parts: Parts, *, checksums: bool) -> tuple[Digest, int | None]:
        def put(_number: int, content: memoryview) -> int | None:
            crc = self._crc.of(content) if checksums else None
            again(lambda: ask(content, {} if crc is None else {"ChecksumCRC64NVME": written(crc)}))
            return crc

        def ask(content: memoryview, announced: dict[str, str]) -> None:
            parts.bandwidth.take(len(content))
            with self._explained(name):
                self._client.put_object(Bucket=self.address.bucket, Key=name, Body=Body(content), **announced)

        digest, crcs = parts.send(source, size, put, least=LEAST_BYTES)
        return digest, crcs[0]

    def _multipart(self, name: str) -> Multipart:
        return Multipart(self._client, self._crc, bucket=self.address.bucket, name=name, explained=self._explained)

    @contextmanager
    def _explained(self, name: str, *, reading: bool = False, replacing: bool = False) -> Iterator[None]:
        """The errors a Service raises, for those of the library."""
        from botocore import exceptions
        from botocore.parsers import ResponseParserError
        from urllib3.exceptions import HTTPError

        try:
            yield
        except exceptions.ClientError as error:
            raise self._answer(error, name, reading=reading, replacing=replacing) from error
        except (exceptions.NoCredentialsError, exceptions.PartialCredentialsError, exceptions.CredentialRetrievalError) as error:
            raise no_credentials(self.address, str(error)) from error
        except (exceptions.ProfileNotFound, exceptions.TokenRetrievalError, exceptions.UnauthorizedSSOTokenError) as error:
            raise no_credentials(self.address, str(error)) from error
        except (
            exceptions.ConnectionError,
            exceptions.HTTPClientError,
            exceptions.IncompleteReadError,
            ResponseParserError,
            HTTPError,
        ) as error:
            # The last is of a refusal that broke off while the library read why.
            if "CERTIFICATE_VERIFY_FAILED" in str(error):
                # Asking again does not make it one that is trusted.
                raise refused(self.address, name, str(error)) from error
            raise ConnectionError(f"{self.address.url_of(name)}: {error}") from error
        except (exceptions.BotoCoreError, ValueError) as error:
            raise refused(self.address, name, str(error)) from error

    def _answer(self, error: Any, name: str, *, reading: bool, replacing: bool) -> Exception:
        code = str(error.response.get("Error", {}).get("Code", ""))
        said = str(error.response.get("Error", {}).get("Message", "")) or code
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        if code == "NoSuchBucket":
            return missing_bucket(self.address)
        if code == "NoSuchUpload":
            return UploadGoneError(f"{self.address.url_of(name)}: the upload was called off by the store")
        if status == 412 or (status == 404 and replacing) or code == "ConditionalRequestConflict":
            changed = f"{self.address.url_of(name)} was written by somebody else"
            return ReplacedError(changed) if reading else FileExistsError(changed)
        if status == 404 and not reading:
            return ConnectionError(f"{self.address.url_of(name)}: {said}")
        if status == 404:
            return FileNotFoundError(f"{self.address.url_of(name)} is missing")
        if code in _BAD_BODY:
            return ConnectionAbortedError(f"{self.address.url_of(name)}: {said}")
        if code == "RequestTimeTooSkewed":
            return clock_wrong(self.address, said)
        # An answer to HEAD does not say what is wrong with the credentials, nor that it is they.
        if (code in _REJECTED_KEYS or status in (400, 401, 403)) and self._renewal.found():
            return ConnectionError(f"{self.address.url_of(name)}: {said}, and there are new credentials by now")
        if code in _REJECTED_KEYS:
            return no_credentials(self.address, f"the store does not accept the credentials ({code})")
        if status in (401, 403):
            return no_permission(self.address, name, code or str(status))
        if status > 501 or status == 500 or status == 429 or code in ("RequestTimeout", "SlowDown", "Throttling", "OperationAborted"):
            return unavailable(f"{self.address.url_of(name)}: {status} {said}", error.response["ResponseMetadata"].get("HTTPHeaders", {}))
        return refused(self.address, name, f"{status} {said}")


def _whole_bytes(answer: Any) -> int | None:
    """How large the object is that `answer` has the beginning of; None when it does not tell."""
    _, _, told = answer.get("ContentRange", "").rpartition("/")
    if told.isdigit():
        return int(told)
    return answer.get("ContentLength") if answer["ResponseMetadata"]["HTTPStatusCode"] == 200 else None


def _time(told: Any) -> datetime:
    """As botocore.utils.parse_timestamp, whose guessing at formats takes as long as all else of reading a list."""
    from botocore.utils import parse_timestamp

    with suppress(ValueError, TypeError):
        found = datetime.fromisoformat(told) if told[:1].isdigit() else parsedate_to_datetime(told)
        if found.tzinfo is not None:
            return found
    return cast("datetime", parse_timestamp(told))
