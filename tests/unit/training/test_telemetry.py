"""A run's events as figures for Prometheus."""

from __future__ import annotations

import importlib.util
import socket
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from runtime.config.problem import UserError
from runtime.events import EventLog
from runtime.training import telemetry
from runtime.training.telemetry import Figures, serving_metrics

pytestmark = pytest.mark.train

LOSS = {"epoch": 0.5, "loss": 2.5, "grad_norm": None, "learning_rate": 1e-4, "tokens": 640, "tokens_per_s": 100.0, "memory_gib": 1.5}


class Meter:
    def __init__(self) -> None:
        self.values: dict[str, float] = {}

    def create_gauge(self, name: str, description: str) -> Any:
        assert description
        return SimpleNamespace(set=lambda value: self.values.__setitem__(name, value))

    def create_counter(self, name: str, description: str) -> Any:
        assert description
        return SimpleNamespace(add=lambda value: self.values.__setitem__(name, self.values.get(name, 0) + value))


def test_events_become_gauges_and_counters() -> None:
    meter = Meter()
    figures = Figures(meter)
    for step in (1, 2):
        figures.see({"kind": "loss", "step": step, "time": 0.0, **LOSS})
    figures.see({"kind": "eval", "step": 2, "time": 0.0, "loss": 2.25, "runtime": 1.0})
    figures.see({"kind": "checkpoint", "step": 2, "time": 0.0, "path": "p", "sealed": True})
    figures.see({"kind": "stage", "step": 2, "time": 0.0, "name": "train"})
    assert meter.values == {
        "train_step": 2,
        "train_loss": 2.5,
        "train_learning_rate": 1e-4,
        "train_epoch": 0.5,
        "train_tokens_per_second": 100.0,
        "train_peak_memory_gib": 1.5,
        "train_tokens": 1280,
        "eval_loss": 2.25,
        "eval_runtime": 1.0,
        "checkpoints": 1,
        "checkpoint_step": 2,
    }


@pytest.fixture
def job(tmp_path: Path) -> Iterator[Any]:
    with socket.socket() as taken:
        taken.bind(("localhost", 0))
        taken.listen()
        config = SimpleNamespace(use_otel_metrics=True, otel_metrics_host="localhost", otel_metrics_port=taken.getsockname()[1])
        yield SimpleNamespace(
            config=config, events=EventLog(tmp_path / "events.jsonl"), run="r", progress=SimpleNamespace(say=lambda text: None), taken=taken
        )


def test_missing_packages_are_refused_by_name(job: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telemetry, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="opentelemetry-sdk and opentelemetry-exporter-prometheus"), serving_metrics(job):
        pass
    job.config.use_otel_metrics = False
    with serving_metrics(job):
        assert job.events.listeners == []


@pytest.mark.skipif(
    importlib.util.find_spec("opentelemetry") is None or importlib.util.find_spec("prometheus_client") is None,
    reason="OpenTelemetry is not installed here",
)
def test_figures_are_served_and_a_taken_port_is_refused(job: Any) -> None:
    from urllib.request import urlopen

    with pytest.raises(UserError, match="cannot be served on localhost"), serving_metrics(job):
        pass
    job.taken.close()
    with serving_metrics(job):
        job.events.append("loss", 3, **LOSS)
        page = urlopen(f"http://localhost:{job.config.otel_metrics_port}/metrics").read().decode()
    assert "train_loss 2.5" in page.replace('{otel_scope_name="runtime"', "").replace("}", "") or "train_loss{" in page
    assert 'service_name="r"' in page
    assert job.events.listeners == []
