"""The scrape page against prometheus-client's writer, on the same samples in the same run."""

from __future__ import annotations

import gzip
import time
from collections.abc import Callable, Iterable

import numpy as np
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily

from exporters.page import SyntheticPage
from sidecar.series import Evaluation, LabelSet
from tests.benchmarks.table import Row, show

BUDGET_SECONDS = 0.15
ROUNDS = 5


def _evaluation(labels: tuple[LabelSet, ...], seed: int) -> Evaluation:
    """Four metrics a series: warming up, so that there is no score."""
    rng = np.random.default_rng(seed)
    actual, expected, lower, upper = rng.lognormal(3, 4, (4, len(labels)))
    nothing = np.full(len(labels), np.nan)
    return Evaluation(
        "bench",
        "default",
        seed,
        labels,
        actual,
        expected,
        lower,
        upper,
        nothing,
        np.zeros(len(labels), dtype=np.int8),
        nothing,
    )


class _Theirs:
    """The same samples as a collector of prometheus-client."""

    def __init__(self, evaluation: Evaluation) -> None:
        self._evaluation = evaluation

    def collect(self) -> Iterable[GaugeMetricFamily]:
        found = self._evaluation
        names = [*(name for name, _ in found.labels[0].pairs if name != "__name__"), "query"]
        texts = [[one[name] for name in names[:-1]] + ["bench"] for one in found.labels]
        columns = zip(
            ("", "_expected", "_lower", "_upper"),
            (found.actual, found.expected, found.lower, found.upper),
            strict=True,
        )
        for name, values in columns:
            family = GaugeMetricFamily(f"theirs{name}", "The same.", labels=names)
            for text, value in zip(texts, values.tolist(), strict=True):
                family.add_metric(text, value)
            yield family


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def run(quick: bool = False) -> list[Row]:
    """Seconds from an evaluation to the page's bytes, at three sizes."""
    rows = []
    for n_series in (1_000, 10_000) if quick else (1_000, 10_000, 100_000):
        labels = tuple(
            LabelSet(
                {
                    "__name__": "http_requests",
                    "instance": f"10.0.{i // 250}.{i % 250}:8080",
                    "job": "shop",
                    "pod": f"shop-7d9f8c6b5-{i:06d}",
                }
            )
            for i in range(n_series)
        )
        page = SyntheticPage(max_series=1_000_000, registry=CollectorRegistry(auto_describe=True))
        page.warm()

        def ours(seed: int, page: SyntheticPage = page, labels: tuple[LabelSet, ...] = labels) -> float:
            found = _evaluation(labels, seed)
            return _seconds(lambda: (page.publish(found), page.render(openmetrics=False, gzipped=False)))

        first = ours(0)
        # The median: what an evaluation costs on this machine, not its luckiest one.
        steady = float(np.median([ours(seed) for seed in range(1, ROUNDS + 1)]))
        body = page.render(openmetrics=False, gzipped=False)[0]
        assert body.count(b"\n") == 4 * n_series + 8
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Theirs(_evaluation(labels, ROUNDS)))  # type: ignore[arg-type]
        theirs = _seconds(lambda registry=registry: generate_latest(registry))
        rows.append(
            Row(
                f"/synthetic, {n_series:,} series × 4 ({len(body) / 1e6:.1f} MB; new labels {first:.3f} s)",
                f"{steady:.4f} s",
                f"{theirs:.4f} s",
                theirs / steady,
                f"< {BUDGET_SECONDS} s",
                steady < BUDGET_SECONDS,
            )
        )
        packed = _seconds(lambda page=page: page.render(openmetrics=False, gzipped=True))
        again = _seconds(lambda page=page: page.render(openmetrics=False, gzipped=True))
        size = len(gzip.compress(body, 1))
        rows.append(
            Row(
                f"  gzip once an evaluation ({size / 1e6:.1f} MB), then handed out",
                f"{packed:.4f} s",
                f"{again * 1e6:.0f} µs",
                None,
                "",
                True,
            )
        )
    return rows


if __name__ == "__main__":
    show("export", run())
