"""A teacher behind a server: asked for the candidates of the very tokens the model is trained on, batch by batch.

Shapes: B rows, L positions, K candidates.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import requests
import torch
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential

from runtime.config.problem import ExitCode, Problem, UserError
from runtime.data.tokens import IGNORED
from runtime.training.losses.teacher import TeacherTokens

_OPTION = "kd_online_server_base_url"
_TRIES = 6
# How many candidates vLLM gives of a token unless it was started with another `--max-logprobs` (its documentation, 2026-11).
_CANDIDATES = 20
_TIMEOUT_S = 120

Said = list[dict[int, float]]


class _BusyError(Exception):
    """The server cannot answer now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TeacherServer:
    """A vLLM or SGLang server. `vocabulary` is how many tokens the student knows, `wait` sleeps a number of seconds between two tries."""

    session: requests.Session
    address: str
    timeout_s: float
    kind: str
    model: str
    candidates: int
    vocabulary: int
    wait: Callable[[float], None] | None = None

    def say(self, inputs: Mapping[str, torch.Tensor]) -> TeacherTokens:
        """The teacher's candidates (B, L, K) of the tokens of a batch; each sample of a packed row is asked for alone, padding not at all.

        Raises UserError when the server refuses, stays away, or answers about other tokens.
        """
        ids_BL, labels_BL = inputs["input_ids"].cpu(), inputs["labels"].cpu()
        samples = [place for place in _samples(ids_BL, inputs) if (labels_BL[place[0], place[1] + 1 : place[2]] != IGNORED).any()]
        asked = [ids_BL[row, start:stop].tolist() for row, start, stop in samples]
        answers = (self._vllm(asked) if self.kind == "vllm" else self._sglang(asked)) if asked else []
        if len(answers) != len(asked) or any(len(said) != len(tokens) for said, tokens in zip(answers, asked, strict=False)):
            raise self._failed(
                "its answer is not about as many tokens as it was asked of", "start it with the same tokenizer as this model's"
            )
        width = max([1, *(len(one) for said in answers for one in said)])
        found_BLK = torch.zeros((*ids_BL.shape, width), dtype=torch.long)
        scores_BLK = torch.full((*ids_BL.shape, width), -math.inf)
        for (row, start, _), said in zip(samples, answers, strict=True):
            for place, one in enumerate(said, start=start):
                if one and not 0 <= min(one) <= max(one) < self.vocabulary:
                    raise self._failed(
                        f"it names the token {max(one)}, and this model has {self.vocabulary}",
                        "distil from a teacher with the same tokenizer",
                    )
                found_BLK[row, place, : len(one)] = torch.tensor(list(one), dtype=torch.long)
                scores_BLK[row, place, : len(one)] = torch.tensor(list(one.values()))
        device = inputs["input_ids"].device
        return TeacherTokens(found_BLK.to(device), scores_BLK.to(device))

    def _vllm(self, asked: Sequence[Sequence[int]]) -> list[Said]:
        # One token must be generated; log probabilities of the prompt are those before any temperature.
        body = {"model": self.model, "prompt": asked, "max_tokens": 1, "temperature": 1.0, "prompt_logprobs": self.candidates}
        answer = self._post("/v1/completions", body)
        choices = sorted(answer["choices"], key=lambda choice: choice["index"])
        return [
            [{int(token): float(said["logprob"]) for token, said in (place or {}).items()} for place in choice["prompt_logprobs"]]
            for choice in choices
        ]

    def _sglang(self, asked: Sequence[Sequence[int]]) -> list[Said]:
        sampling = {"max_new_tokens": 1, "temperature": 1.0}
        body = {
            "input_ids": asked,
            "sampling_params": sampling,
            "return_logprob": True,
            "logprob_start_len": 0,
            "top_logprobs_num": self.candidates,
        }
        answer = self._post("/generate", body)
        return [
            [{int(said[1]): float(said[0]) for said in place or ()} for place in sample["meta_info"]["input_top_logprobs"]]
            for sample in answer
        ]

    def _post(self, path: str, body: Mapping[str, Any]) -> Any:
        try:
            return _answer(lambda: self.session.post(self.address + path, json=body, timeout=self.timeout_s), self.wait)
        except (_BusyError, requests.RequestException, ValueError) as error:
            raise self._failed(str(error), "see the server's log") from error

    def _failed(self, reason: str, fix: str) -> UserError:
        problem = Problem(code="unreachable", path=_OPTION, place=self.address, message=f"the teacher's server: {reason}", fix=fix)
        return UserError(problem, exit_code=ExitCode.TRAINING_FAILED)


def teacher_server(config: Any, *, vocabulary: int, wait: Callable[[float], None] | None = None) -> TeacherServer | None:
    """The server of the recipe's online teacher, which must answer; None for a recipe without one. Raises UserError when it does not answer.

    A key in OPENAI_API_KEY is sent along.
    """
    if not config.kd_trainer or not config.kd_online_server_base_url:
        return None
    address = config.kd_online_server_base_url.rstrip("/").removesuffix("/v1")
    timeout_s = float(config.kd_online_timeout or _TIMEOUT_S)
    key = os.environ.get("OPENAI_API_KEY")
    session = requests.Session()
    session.headers.update({"Authorization": f"Bearer {key}"} if key else {})
    try:
        model = _answer(lambda: session.get(f"{address}/v1/models", timeout=timeout_s), wait)["data"][0]["id"]
    except (_BusyError, requests.RequestException, ValueError, LookupError, TypeError) as error:
        raise UserError(
            Problem(
                code="unreachable",
                path=_OPTION,
                place=address,
                message=f"the teacher's server does not say which model it serves: {error}",
                fix="start the server, and give its address as http://host:port",
            ),
            exit_code=ExitCode.REMOTE_REFUSED,
        ) from error
    return TeacherServer(
        session=session,
        address=address,
        timeout_s=timeout_s,
        kind=config.kd_online_server or "vllm",
        model=model,
        candidates=config.kd_online_topk or _CANDIDATES,
        vocabulary=vocabulary,
        wait=wait,
    )


def _answer(ask: Callable[[], requests.Response], wait: Callable[[float], None] | None) -> Any:
    """The JSON a server answers; one that is away or busy is asked again, six times in about half a minute."""
    patience: dict[str, Any] = {} if wait is None else {"sleep": wait}
    again = retry_if_exception_type((_BusyError, requests.ConnectionError, requests.Timeout))
    for attempt in Retrying(
        stop=stop_after_attempt(_TRIES), wait=wait_exponential(multiplier=1, max=16), retry=again, reraise=True, **patience
    ):
        with attempt:
            response = ask()
            if response.status_code in (408, 429) or response.status_code >= 500:
                raise _BusyError(f"it answers {response.status_code}")
            if response.status_code != 200:
                raise ValueError(f"it answers {response.status_code}: {response.text[:200]}")
            return response.json()
    raise AssertionError("a retry ends with an answer or an error")


def _samples(ids_BL: torch.Tensor, inputs: Mapping[str, torch.Tensor]) -> list[tuple[int, int, int]]:
    """(row, start, stop) of every sample of a batch: between positions that start again, or what the mask leaves of a row."""
    length = ids_BL.shape[1]
    if inputs.get("attention_mask") is not None:
        return [(row, 0, int(count)) for row, count in enumerate(inputs["attention_mask"].sum(dim=-1).tolist())]
    found = []
    for row, places in enumerate(inputs["position_ids"].cpu()):
        starts = [*(places == 0).nonzero().flatten().tolist(), length]
        found += [(row, start, stop) for start, stop in pairwise(starts)]
    return found
