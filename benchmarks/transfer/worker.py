"""One transfer by one of the Python ways, in a process of its own so that its processor time and memory can be told.

python benchmarks/transfer/worker.py WAY up|down ADDRESS FOLDER
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

# As many files at once as ours.
FILES_AT_ONCE = 4


def ours(direction: str, address: str, folder: Path) -> None:
    """Sealed in the store with every object verified there, or restored with every byte verified."""
    from runtime.checkpoint.opening import open_store
    from runtime.checkpoint.restore import restore_newest
    from runtime.checkpoint.stored import RunStore
    from runtime.checkpoint.storing import seal_in_store

    place = RunStore(store=open_store(address), run="run")
    if direction == "up":
        seal_in_store(place, folder, writer="1-bench")
    else:
        found = restore_newest([place], folder).found
        assert found is not None
        assert found.folder is not None


def boto3_default(direction: str, address: str, folder: Path) -> None:
    """boto3's managed transfers with their defaults: CRC32 of each part, no comparison afterwards."""
    _boto3(direction, address, folder, None)


def boto3_crc64(direction: str, address: str, folder: Path) -> None:
    """The same with a checksum of the whole object."""
    _boto3(direction, address, folder, {"ChecksumAlgorithm": "CRC64NVME"})


def obstore(direction: str, address: str, folder: Path) -> None:
    """obstore, which sends without a checksum."""
    import obstore as library

    bucket, _, prefix = address.removeprefix("s3://").partition("/")
    store: Any = library.store.S3Store(bucket, client_options={"allow_http": True}, endpoint=os.environ["AWS_ENDPOINT_URL"])

    def up(path: Path) -> None:
        library.put(store, f"{prefix}/{path.relative_to(folder)}", path)

    def down(name: str) -> None:
        with (folder / name).open("wb") as stream:
            for chunk in library.get(store, f"{prefix}/{name}").stream(min_chunk_size=1 << 23):
                stream.write(chunk)

    if direction == "up":
        _each(up, sorted(folder.iterdir()))
    else:
        folder.mkdir(parents=True)
        _each(down, [found["path"].rpartition("/")[2] for page in library.list(store, prefix) for found in page])


def _boto3(direction: str, address: str, folder: Path, extra: dict[str, str] | None) -> None:
    import boto3
    from botocore.config import Config

    client = boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"], config=Config(s3={"addressing_style": "path"}))
    bucket, _, prefix = address.removeprefix("s3://").partition("/")
    if direction == "up":
        _each(lambda path: client.upload_file(str(path), bucket, f"{prefix}/{path.name}", ExtraArgs=extra), sorted(folder.iterdir()))
    else:
        folder.mkdir(parents=True)
        names = [found["Key"] for found in client.list_objects_v2(Bucket=bucket, Prefix=f"{prefix}/")["Contents"]]
        _each(lambda name: client.download_file(bucket, name, str(folder / name.rpartition("/")[2])), names)


def _each(work: Callable[[Any], object], items: list[Any]) -> None:
    with ThreadPoolExecutor(FILES_AT_ONCE) as pool:
        list(pool.map(work, items))


if __name__ == "__main__":
    way, direction, address, folder = sys.argv[1:]
    {"ours": ours, "boto3": boto3_default, "boto3-crc64": boto3_crc64, "obstore": obstore}[way](direction, address, Path(folder))
