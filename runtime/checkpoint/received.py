"""The body of an answer."""

from __future__ import annotations

from http.client import HTTPResponse
from typing import Any

from runtime.checkpoint.service import Pieces


def received(body: Any, count: int) -> Pieces:
    """What `body`, an answer's as urllib3 hands it out, still has, in pieces of at most `count` bytes. A piece's memory is the next one's.

    Raises ConnectionError when less came than was announced, or when the network failed; what arrived until then is handed out before.
    """
    from urllib3.exceptions import HTTPError

    try:
        yield from _received(body, count)
    except (HTTPError, OSError) as error:
        raise ConnectionError(str(error) or type(error).__name__) from error


def _received(body: Any, count: int) -> Pieces:
    answer = getattr(body, "_original_response", None)
    network = getattr(getattr(body, "connection", None), "sock", None)
    if network is None or not isinstance(answer, HTTPResponse) or answer.length is None:
        # Of unknown length, or over a connection that ends with it.
        while piece := body.read(count):
            yield piece
        return
    # What came along with the answer's head is in a buffer. The rest goes from the socket straight into memory that stays in the processor's cache:
    # every layer in between makes each piece anew.
    if answer.length and (first := body.read(len(answer.peek()[: answer.length]))):
        yield first
    missing = answer.length
    memory = memoryview(bytearray(min(count, missing)))
    while missing:
        filled, failed = _fill(network, memory[:missing])
        missing -= filled
        if filled:
            yield memory[:filled]
        if failed is not None:
            raise failed
    if getattr(network, "pending", int)():
        # Who sends more than was announced must not have it taken for the next answer; of what was decrypted the library sees nothing.
        body.close()
        return
    # Nothing is left for the library to read but the end, after which it uses the connection again.
    answer.length = body.length_remaining = 0
    body.read(1)


def _fill(network: Any, memory: memoryview) -> tuple[int, OSError | None]:
    """How many bytes of `memory` arrived, and why not all of them."""
    filled = 0
    try:
        # What is encrypted comes in small pieces.
        while filled < len(memory):
            if not (more := network.recv_into(memory[filled:])):
                return filled, ConnectionError("the connection ended early")
            filled += more
    except OSError as error:
        return filled, error
    return filled, None
