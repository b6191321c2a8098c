"""A run's secrets on their way to its machine: encrypted under a key of one submission. The two travel apart, and neither tells anything alone."""

from __future__ import annotations

import json
from collections.abc import Mapping

from runtime.config.problem import ExitCode, Problem, UserError

SEALED = "LAUNCHER_SECRETS"
"""The one secret that carries all of them."""
KEYS = "keys"
"""The folder below ours in which a machine finds the key, under the submission's id."""


def seal(values: Mapping[str, str]) -> tuple[str, str]:
    """The values as one text that cannot be read without the key, and the key, which is new each time (Fernet: AES-128-CBC with HMAC-SHA256)."""
    from cryptography.fernet import Fernet

    key = Fernet.generate_key()
    return Fernet(key).encrypt(json.dumps(dict(values)).encode()).decode("ascii"), key.decode("ascii")


def unseal(sealed: str, key: str) -> dict[str, str]:
    """The values again. Raises UserError when the key is another one's."""
    from cryptography.fernet import Fernet, InvalidToken

    try:
        values = json.loads(Fernet(key.strip().encode("ascii")).decrypt(sealed.encode("ascii")))
    except (InvalidToken, ValueError) as error:
        raise UserError(
            Problem(
                code="bad-secrets",
                message="the run's secrets cannot be opened with the key that came along",
                place=SEALED,
                fix="submit the run again with `launcher resume RUN`",
            ),
            exit_code=ExitCode.REMOTE_REFUSED,
        ) from error
    return {str(name): str(value) for name, value in values.items()}
