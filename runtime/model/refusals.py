"""Why the Hub gave nothing: found in the chain of errors that the libraries in between made of its answer."""

from __future__ import annotations

from runtime.config.problem import ExitCode, Problem, UserError


def refusal(error: BaseException, *, name: str, option: str, revision: str | None = None, what: str = "model") -> UserError | None:
    """What the Hub's answer to the question for the repository `name` means, told at `option`; None when it is not the Hub's answer that failed.

    Exit 8 and `credentials` for a gated repository, or a token it does not know; exit 2 and `missing-file` for a repository, revision or file that is not there; exit 8
    and `unreachable` without an answer.
    """
    from huggingface_hub import errors, get_token

    links = list(_chain(error))

    def met(*kinds: type[BaseException]) -> bool:
        return any(isinstance(link, kinds) for link in links)

    # `datasets` drops the chain and keeps a sentence; without a token the Hub tells nobody that a name is missing.
    unfound = str(error) if type(error).__name__ == "DatasetNotFoundError" else ""
    statuses = {getattr(getattr(link, "response", None), "status_code", None) for link in links}
    if met(errors.GatedRepoError) or "gated" in unfound:
        return _told(
            "credentials",
            f"the Hub lends this {what} to those who have accepted its terms, and our token is not one of theirs"
            if get_token()
            else f"the Hub lends this {what} to those who have accepted its terms, and there is no token",
            f"accept them on its page on the Hub ({name}), then export HF_TOKEN and name it under `launch.secrets`",
            name=name,
            option=option,
        )
    if met(errors.RevisionNotFoundError) or unfound.startswith("Revision"):
        place = "revision_of_model" if option == "base_model" else option
        return _told(
            "missing-file",
            f"this {what} has no revision {revision or 'main'!r}",
            "name a branch, a tag or a whole commit",
            name=name,
            option=place,
        )
    if met(errors.RepositoryNotFoundError) or unfound or statuses & {401, 403}:
        if get_token():
            message = f"the Hub has no such {what}, or it is private and our token may not read it"
            fix = "check the name, and what HF_TOKEN may read"
        else:
            message = f"the Hub has no such {what}, or it is private, and there is no token"
            fix = "check the name; for a private one export HF_TOKEN and name it under `launch.secrets`"
        return _told("credentials" if statuses & {401, 403} or not get_token() else "missing-file", message, fix, name=name, option=option)
    if met(errors.RemoteEntryNotFoundError) and not met(errors.OfflineModeIsEnabled):
        return _told(
            "missing-file",
            f"this repository lacks a file that every {what} has",
            "check the name: it needs config.json, the weights as safetensors and a tokenizer" if what == "model" else "check the name",
            name=name,
            option=option,
        )
    if met(errors.OfflineModeIsEnabled) or met(errors.LocalEntryNotFoundError, ConnectionError) or _is_transport(links):
        return _told(
            "unreachable",
            "this is not a folder here, and the Hugging Face Hub cannot be reached",
            "check the path or the network; a downloaded folder works offline",
            name=name,
            option=option,
        )
    return None


def _told(code: str, message: str, fix: str, *, name: str, option: str) -> UserError:
    exit_code = ExitCode.INVALID if code == "missing-file" else ExitCode.REMOTE_REFUSED
    return UserError(Problem(code=code, path=option, place=name, message=message, fix=fix), exit_code=exit_code)


def _is_transport(links: list[BaseException]) -> bool:
    from httpx2 import TransportError

    return any(isinstance(link, TransportError) for link in links)


def _chain(error: BaseException | None) -> list[BaseException]:
    """The error, what caused it, and what was being handled when it was raised."""
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found
