"""Metrics of the hooks: those that every question costs, and those of several processes as of one."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Iterable, Iterator, Sequence

import prometheus_client
from prometheus_client import REGISTRY, CollectorRegistry, Metric
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from service.operations.questions import Outcome

# Upper bounds in seconds.
BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)


class Figures:
    """How many questions of a route, with which outcome, and how long they took: plain numbers until somebody asks."""

    def __init__(self) -> None:
        self.outcomes = dict.fromkeys(Outcome, 0)
        self.buckets = [0] * (len(BUCKETS) + 1)
        self.seconds = 0.0

    def note(self, seconds: float, outcome: Outcome) -> None:
        """One more."""
        self.outcomes[outcome] += 1
        self.buckets[bisect.bisect_left(BUCKETS, seconds)] += 1
        self.seconds += seconds


class Questions(Collector):
    """
    Questions of brokers by route and outcome, and seconds to the answer.

    A counter of prometheus_client takes a lock each time, which would be a tenth of an answer from memory.
    """

    def __init__(self) -> None:
        self._routes: dict[str, Figures] = {}

    def of(self, route: str) -> Figures:
        """A route's."""
        return self._routes.setdefault(route, Figures())

    def collect(self) -> Iterator[Metric]:
        """As prometheus_client's own counter and histogram would tell them."""
        counter = CounterMetricFamily("hook_questions", "Questions of brokers", labels=["route", "outcome"])
        histogram = HistogramMetricFamily("hook_seconds", "Seconds to the answer of a question", labels=["route"])
        for route, figures in self._routes.items():
            for outcome, count in figures.outcomes.items():
                counter.add_metric([route, outcome.name.lower()], count)
            sums = itertools.accumulate(figures.buckets)
            bounds = (*(str(bound) for bound in BUCKETS), "+Inf")
            histogram.add_metric([route], list(zip(bounds, map(float, sums), strict=True)), figures.seconds)
        yield counter
        yield histogram


QUESTIONS = Questions()
REGISTRY.register(QUESTIONS)

# Of these a sum says nothing: the earliest, and the largest.
_EARLIEST = ("_created", "_start_time_seconds")
_LARGEST = ("_info", "_max_fds")


class _Merged(Collector):
    def __init__(self, texts: Iterable[str]) -> None:
        self._texts = texts

    def collect(self) -> Iterator[Metric]:
        found: dict[str, tuple[Metric, dict[tuple[str, tuple[tuple[str, str], ...]], float]]] = {}
        for text in self._texts:
            for family in text_string_to_metric_families(text):
                _, values = found.setdefault(family.name, (family, {}))
                for sample in family.samples:
                    key = (sample.name, tuple(sample.labels.items()))
                    values[key] = _merge(sample.name, values[key], sample.value) if key in values else sample.value
        for family, values in found.values():
            merged = Metric(family.name, family.documentation, family.type)
            for (name, labels), value in values.items():
                merged.add_sample(name, dict(labels), value)
            yield merged


def _merge(name: str, one: float, other: float) -> float:
    if name.endswith(_EARLIEST):
        return min(one, other)
    return max(one, other) if name.endswith(_LARGEST) else one + other


def merge(texts: Sequence[str]) -> bytes:
    """Texts of /metrics as one, sums of them all."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Merged(texts))
    return prometheus_client.generate_latest(registry)
