"""Figures of a server for Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from prompt_oirl.serving.choice import Choice
from prompt_oirl.serving.served_log import Answered

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
CHOICE_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
ANSWER_SECONDS = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)


class Metrics:
    """Counters of one server; `text` is what /metrics shows."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()

        def counter(name: str, about: str, *labels: str) -> Counter:
            return Counter(f"prompt_oirl_{name}", about, labels, registry=self.registry)

        def seconds(name: str, about: str, buckets: tuple[float, ...]) -> Histogram:
            return Histogram(f"prompt_oirl_{name}_seconds", about, buckets=buckets, registry=self.registry)

        self.requests = counter("requests", "Requests by route and status.", "route", "status")
        self.choices = counter("choices", "Prompts sent.", "prompt", "explored", "fallback")
        self.choosing = seconds("choice", "Time to choose a prompt.", CHOICE_SECONDS)
        self.answering = seconds("answer", "Time from request to last byte.", ANSWER_SECONDS)
        self.tokens = counter("tokens", "Tokens as the upstream counts them.", "direction")
        self.feedback = counter("feedback", "Verdicts received.")
        self.log_failures = counter("log_failures", "Lines that could not be written.")
        self.reloads = counter("reloads", "Selectors loaded while serving.", "result")
        self.in_flight = Gauge("prompt_oirl_in_flight", "Requests under way.", registry=self.registry)
        self.policy = Gauge(
            "prompt_oirl_policy", "1 for the policy that serves.", ["policy"], registry=self.registry
        )

    def chose(self, choice: Choice, seconds: float) -> None:
        """Count a choice, which took so long."""
        self.choices.labels(choice.name, str(choice.explored).lower(), choice.fallback or "").inc()
        self.choosing.observe(seconds)

    def answered(self, answered: Answered) -> None:
        """Count an answer."""
        self.answering.observe(answered.latency_ms / 1000)
        self.tokens.labels("in").inc(answered.tokens_in or 0)
        self.tokens.labels("out").inc(answered.tokens_out or 0)

    def serves(self, policy: str) -> None:
        """Note which policy serves."""
        self.policy.clear()
        self.policy.labels(policy).set(1)

    def text(self) -> bytes:
        """All figures in Prometheus' text format."""
        return generate_latest(self.registry)
