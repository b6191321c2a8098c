"""What an object store refused, and what the user can do about it. No message holds a secret."""

from __future__ import annotations

from runtime.config.problem import ExitCode, Problem, UserError
from runtime.config.storage import NAMES, VARIABLES, Address


def package_missing(address: Address, error: ImportError, package: str) -> UserError:
    """The library of this kind of store is not installed."""
    return UserError(
        Problem(
            code="missing-package",
            path="launch.storage",
            place=address.url(),
            message=f"{NAMES[address.kind]} needs a package that is not installed ({error.name})",
            fix=f'pip install "{package}"',
        )
    )


def no_credentials(address: Address, reason: str, fix: str = "") -> UserError:
    """None were found, or the store does not take them. `fix` where more is known than which variables there are."""
    return _remote(
        "credentials",
        address,
        "",
        f"no usable credentials for {NAMES[address.kind]}: {reason}",
        fix or f"set {VARIABLES[address.kind]}; on another machine, name the variables in launch.secrets",
    )


def no_permission(address: Address, name: str, reason: str, fix: str = "") -> UserError:
    """The credentials are good for something else. `fix` where it is known what is missing."""
    return _remote(
        "no-permission",
        address,
        name,
        f"the store refuses this to the credentials in use ({reason})",
        fix or f"give them the right to read, write, list and delete below {address.url()}",
    )


def missing_bucket(address: Address) -> UserError:
    """Buckets are never made by us: their place and price are the user's choice."""
    return _remote(
        "missing-bucket",
        address,
        "",
        f"there is no bucket or container {address.bucket!r}",
        "create it, or correct its name; buckets are not made by the launcher",
    )


def public_repository(address: Address) -> UserError:
    """Checkpoints hold the recipe and the state of the training, which nobody means to show."""
    return _remote(
        "public-repository",
        address,
        "",
        f"the repository {address.bucket} is public, and checkpoints are private",
        "make it private on the Hub, or name another one; a missing one is made, private",
    )


def clock_wrong(address: Address, reason: str) -> UserError:
    """Signatures carry the time."""
    return _remote("clock", address, "", f"this machine's clock is wrong: {reason}", "set the clock (timedatectl set-ntp true)")


def refused(address: Address, name: str, reason: str) -> UserError:
    """Anything else that trying again does not change."""
    return _remote("store-refused", address, name, f"the store refused: {reason}", "check the address and the store's settings")


def is_plain_refusal(error: UserError) -> bool:
    """Whether `error` is one of `refused`: the store does not do what was asked, for no reason known here."""
    return all(problem.code == "store-refused" for problem in error.problems)


def _remote(code: str, address: Address, name: str, message: str, fix: str) -> UserError:
    place = address.url_of(name) if name else address.url()
    return UserError(Problem(code=code, message=message, place=place, fix=fix), exit_code=ExitCode.REMOTE_REFUSED)
