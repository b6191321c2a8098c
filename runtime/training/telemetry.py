"""The run's figures for Prometheus: an OpenTelemetry meter fed by the run's own events, served over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

from runtime.config.problem import Problem, UserError
from runtime.events import Event
from runtime.training.job import Job

_PACKAGES = {
    "opentelemetry.sdk": "opentelemetry-sdk",
    "opentelemetry.exporter.prometheus": "opentelemetry-exporter-prometheus",
    "prometheus_client": "prometheus-client",
}
# Event field -> (name of the gauge, meaning).
_OF_STEPS = {
    "loss": ("train_loss", "Mean loss of the last recorded step's tokens, nats"),
    "learning_rate": ("train_learning_rate", "Learning rate of that step"),
    "grad_norm": ("train_grad_norm", "Norm of its gradient"),
    "epoch": ("train_epoch", "Passes over the training data so far"),
    "tokens_per_s": ("train_tokens_per_second", "Tokens read a second, all devices together"),
    "memory_gib": ("train_peak_memory_gib", "Most memory the main process has held, GiB"),
}


@contextmanager
def serving_metrics(job: Job) -> Iterator[None]:
    """Serve the run's figures on `otel_metrics_host:otel_metrics_port` while the block runs, from the main process; nothing unless `use_otel_metrics`.

    Raises UserError when a package is missing or the port is taken.
    """
    config = job.config
    if not config.use_otel_metrics or job.events is None:
        yield
        return
    _require_packages()
    from opentelemetry.exporter.prometheus import PrometheusMetricReader
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.resources import Resource
    from prometheus_client import start_http_server

    host, port = config.otel_metrics_host or "localhost", config.otel_metrics_port or 8000
    try:
        server, thread = start_http_server(port, host)
    except OSError as error:
        raise UserError(
            Problem(
                code="conflict",
                path="otel_metrics_port",
                message=f"metrics cannot be served on {host}:{port}: {error.strerror or error}",
                fix="set another otel_metrics_port, or otel_metrics_host: 0.0.0.0 for all addresses of this machine",
            )
        ) from error
    reader = PrometheusMetricReader()
    provider = MeterProvider(metric_readers=[reader], resource=Resource.create({"service.name": job.run}))
    figures = Figures(provider.get_meter("runtime"))
    job.events.listeners.append(figures.see)
    job.progress.say(f"metrics are served at http://{host}:{port}/metrics")
    try:
        yield
    finally:
        job.events.listeners.remove(figures.see)
        provider.shutdown()
        server.shutdown()
        server.server_close()
        thread.join()


class Figures:
    """Gauges and counters of a run, made from its events."""

    def __init__(self, meter: Any) -> None:
        self._meter = meter
        self._gauges: dict[str, Any] = {}
        self._tokens = meter.create_counter("train_tokens", description="Tokens read by this process group since it started")
        self._checkpoints = meter.create_counter("checkpoints", description="Checkpoints sealed since it started")

    def see(self, event: Event) -> None:
        """Take up what an event says; kinds without figures are passed over."""
        kind, step = event["kind"], event.get("step")
        if kind == "loss":
            self._set("train_step", "Optimizer steps done", step)
            for field, (name, meaning) in _OF_STEPS.items():
                self._set(name, meaning, event.get(field))
            self._tokens.add(event.get("tokens") or 0)
        elif kind == "eval":
            for field, value in event.items():
                if field not in ("time", "step", "kind"):
                    self._set(f"eval_{field}", f"{field} of the last evaluation", value)
        elif kind == "checkpoint":
            self._checkpoints.add(1)
            self._set("checkpoint_step", "Step of the newest sealed checkpoint", step)

    def _set(self, name: str, meaning: str, value: Any) -> None:
        if not isinstance(value, int | float) or isinstance(value, bool):
            return
        if name not in self._gauges:
            self._gauges[name] = self._meter.create_gauge(name, description=meaning)
        self._gauges[name].set(value)


def _require_packages() -> None:
    missing = [package for module, package in _PACKAGES.items() if not _installed(module)]
    if missing:
        raise UserError(
            Problem(
                code="unsupported",
                path="use_otel_metrics",
                message=f"serving metrics needs {' and '.join(missing)}, not installed here",
                fix=f"pip install {' '.join(missing)}",
            )
        )


def _installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False
