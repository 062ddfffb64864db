"""The metrics of several processes as those of one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import prometheus_client
from prometheus_client import CollectorRegistry, Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

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
