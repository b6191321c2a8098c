"""A teacher behind a server is asked for the tokens of a batch as they are, and for nothing else."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import torch

from runtime.config.problem import UserError
from runtime.config.schema import TrainingConfig
from runtime.training.losses.server import TeacherServer, teacher_server

pytestmark = pytest.mark.train


class Teacher:
    """A server of both kinds that finds each token itself and the next id likely. `failures` are statuses it answers with first."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Any, str | None]] = []
        self.failures: list[int] = []
        self.forgets = False
        teacher = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._reply({"data": [{"id": "org/teacher"}]})

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                teacher.asked.append((self.path, body, self.headers.get("Authorization")))
                self._reply(teacher.completions(body) if self.path == "/v1/completions" else teacher.generated(body))

            def _reply(self, answer: Any) -> None:
                status = teacher.failures.pop(0) if teacher.failures else 200
                content = json.dumps(answer if status == 200 else {"error": "no"}).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *args: Any) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.address = f"http://127.0.0.1:{self.server.server_port}"

    def said(self, tokens: list[int]) -> list[list[tuple[int, float]] | None]:
        return [None, *([(token, -0.25), (token + 1, -1.5)] for token in tokens[1 : -1 if self.forgets else None])]

    def completions(self, body: Any) -> Any:
        choices = [
            {
                "index": number,
                "text": "x",
                "prompt_logprobs": [
                    place and {str(token): {"logprob": value, "rank": 1, "decoded_token": "?"} for token, value in place}
                    for place in self.said(tokens)
                ],
            }
            for number, tokens in enumerate(body["prompt"])
        ]
        return {"choices": choices[::-1]}

    def generated(self, body: Any) -> Any:
        return [
            {
                "text": "x",
                "meta_info": {
                    "input_top_logprobs": [place and [[value, token, None] for token, value in place] for place in self.said(tokens)]
                },
            }
            for tokens in body["input_ids"]
        ]


@pytest.fixture
def teacher() -> Iterator[Teacher]:
    made = Teacher()
    yield made
    made.server.shutdown()
    made.server.server_close()


def opened(teacher: Teacher, vocabulary: int = 100, **options: Any) -> TeacherServer:
    values = {"base_model": "m", "learning_rate": 1.0, "datasets": [{"path": "d", "type": "alpaca"}], "kd_trainer": True}
    config = TrainingConfig.model_validate(values | {"kd_online_server_base_url": teacher.address} | options)
    server = teacher_server(config, vocabulary=vocabulary, wait=lambda seconds: None)
    assert server is not None
    return server


MASKED = {
    "input_ids": torch.tensor([[5, 6, 7, 8], [9, 10, 3, 3]]),
    "labels": torch.tensor([[-100, -100, 7, 8], [-100, 10, -100, -100]]),
    "attention_mask": torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]]),
}


@pytest.mark.parametrize("kind", ["vllm", "sglang"])
def test_each_row_is_asked_for_without_its_padding(teacher: Teacher, kind: str) -> None:
    said = opened(teacher, kd_online_server=kind, kd_online_topk=2).say(MASKED)
    ((path, body, _),) = teacher.asked
    assert path == ("/v1/completions" if kind == "vllm" else "/generate")
    assert body["prompt" if kind == "vllm" else "input_ids"] == [[5, 6, 7, 8], [9, 10]]
    assert body["prompt_logprobs" if kind == "vllm" else "top_logprobs_num"] == 2
    assert said.ids[:, :, 0].tolist() == [[0, 6, 7, 8], [0, 10, 0, 0]]
    assert said.scores[0, 1].tolist() == [-0.25, -1.5]
    assert torch.isfinite(said.scores).any(-1).tolist() == [[False, True, True, True], [False, True, False, False]]


@pytest.mark.parametrize("kind", ["vllm", "sglang"])
def test_samples_of_a_packed_row_are_asked_for_alone_and_only_where_something_is_trained(teacher: Teacher, kind: str) -> None:
    ids = torch.arange(10, 20)[None]
    labels = ids.clone()
    labels[0, 3:7] = -100
    positions = torch.tensor([[0, 1, 2, 0, 1, 2, 3, 0, 1, 2]])
    labels[positions == 0] = -100
    said = opened(teacher, kd_online_server=kind).say({"input_ids": ids, "labels": labels, "position_ids": positions})
    assert teacher.asked[0][1]["prompt" if kind == "vllm" else "input_ids"] == [[10, 11, 12], [17, 18, 19]]
    assert said.ids[0, :, 0].tolist() == [0, 11, 12, 0, 0, 0, 0, 0, 18, 19]


def test_a_batch_without_trained_tokens_asks_nothing(teacher: Teacher) -> None:
    said = opened(teacher).say({**MASKED, "labels": torch.full((2, 4), -100)})
    assert teacher.asked == []
    assert not torch.isfinite(said.scores).any()


def test_a_busy_server_is_asked_again_and_one_that_refuses_is_not(teacher: Teacher) -> None:
    server = opened(teacher)
    teacher.failures = [503, 429]
    server.say(MASKED)
    assert len(teacher.asked) == 3
    teacher.failures = [400]
    with pytest.raises(UserError, match="400"):
        server.say(MASKED)
    assert len(teacher.asked) == 4
    teacher.failures = [500] * 6
    with pytest.raises(UserError, match="500"):
        server.say(MASKED)


def test_answers_about_other_tokens_are_refused(teacher: Teacher) -> None:
    with pytest.raises(UserError, match="this model has 8"):
        opened(teacher, vocabulary=8).say(MASKED)
    teacher.forgets = True
    with pytest.raises(UserError, match="as many tokens"):
        opened(teacher).say(MASKED)


def test_the_key_of_the_environment_is_sent_along(teacher: Teacher, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sesame")
    opened(teacher).say(MASKED)
    assert teacher.asked[0][2] == "Bearer sesame"


def test_a_server_that_is_not_there_is_said_before_training(teacher: Teacher) -> None:
    teacher.server.shutdown()
    teacher.server.server_close()
    with pytest.raises(UserError, match="does not say which model"):
        opened(teacher)


def test_a_recipe_without_a_server_has_none() -> None:
    values = {"base_model": "m", "learning_rate": 1.0, "datasets": [{"path": "d", "type": "alpaca"}]}
    assert teacher_server(TrainingConfig.model_validate(values), vocabulary=5) is None
