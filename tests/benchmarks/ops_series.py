"""Made-up operations series of a dozen kinds, seeded: to judge forecasts on what no method was tuned to."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from sidecar.series import FloatArray

Rng = np.random.Generator


def _day(n: int, per_day: int, rng: Rng) -> FloatArray:
    """A daily shape of a few harmonics, mean 0, about -1..1."""
    at = 2 * np.pi * (np.arange(n) / per_day + rng.random())
    shape = sum(rng.normal(0, 1 / k) * np.sin(k * at + rng.random() * 6) for k in (1, 2, 3))
    return np.asarray(shape / np.abs(shape).max())


def _ar(n: int, rho: float, rng: Rng) -> FloatArray:
    x = rng.normal(0, np.sqrt(1 - rho**2), n)
    for t in range(1, n):
        x[t] += rho * x[t - 1]
    return x


def requests(n: int, per_day: int, rng: Rng) -> FloatArray:
    """Request rate: day, week-ends, noise that grows with the level."""
    weekend = np.where((np.arange(n) // per_day) % 7 >= 5, 0.6, 1.0)
    level = rng.uniform(5, 5000) * (1.5 + _day(n, per_day, rng)) * weekend
    return np.asarray(level * np.exp(0.08 * _ar(n, 0.9, rng) + 0.03 * rng.normal(size=n)))


def cpu(n: int, per_day: int, rng: Rng) -> FloatArray:
    """Busy percentage with bursts, bounded by 0 and 100."""
    base = 35 + 15 * _day(n, per_day, rng) + 6 * _ar(n, 0.97, rng)
    bursts = (rng.random(n) < 0.01) * rng.gamma(2, 12, n)
    return np.asarray(np.clip(base + bursts + rng.normal(0, 2, n), 0, 100))


def batch_job(n: int, per_day: int, rng: Rng) -> FloatArray:
    """A job each few hours, flat between."""
    period = max(per_day // int(rng.choice([24, 12, 8, 4])), 3)
    on = (np.arange(n) % period) < max(period // 6, 1)
    return np.asarray(rng.uniform(1, 9) + on * rng.uniform(20, 60) + rng.normal(0, 0.5, n))


def memory_leak(n: int, per_day: int, rng: Rng) -> FloatArray:
    """Grows until a restart, again and again."""
    life = int(per_day * rng.uniform(1.5, 4))
    return np.asarray(
        2e8 + 1e9 * ((np.arange(n) + rng.integers(life)) % life) / life + 1e7 * _ar(n, 0.9, rng)
    )


def disk(n: int, per_day: int, rng: Rng) -> FloatArray:
    """Fills slowly, faster by day."""
    growth = np.maximum(1 + 0.8 * _day(n, per_day, rng), 0) * rng.gamma(4, 0.25, n)
    return np.asarray(40 + 35 * np.cumsum(growth) / growth.sum())


def latency(n: int, per_day: int, rng: Rng) -> FloatArray:
    """Heavy-tailed around a quiet level."""
    return np.asarray(
        0.05 * np.exp(0.2 * _day(n, per_day, rng) + 0.15 * _ar(n, 0.8, rng)) * (1 + rng.pareto(4, n))
    )


def queue(n: int, per_day: int, rng: Rng) -> FloatArray:
    """Mostly zero, with storms."""
    storm = _ar(n, 0.95, rng) > 1.6
    return np.asarray(np.where(storm, rng.poisson(30, n), rng.poisson(0.05, n)), dtype=np.float64)


def shifted(n: int, per_day: int, rng: Rng) -> FloatArray:
    """Two deployments that changed the level."""
    steps = np.zeros(n)
    for at in rng.integers(n // 3, n, 2):
        steps[at:] += rng.normal(0, 25)
    return np.asarray(200 + 20 * _day(n, per_day, rng) + steps + 3 * rng.normal(size=n))


def replicas(n: int, per_day: int, rng: Rng) -> FloatArray:
    """Whole numbers that follow load with hysteresis."""
    load = 8 + 5 * _day(n, per_day, rng) + 0.7 * _ar(n, 0.99, rng)
    held, now = np.empty(n), 8.0
    for t in range(n):
        now = np.round(load[t]) if abs(load[t] - now) > 0.9 else now
        held[t] = now
    return held


def wandering(n: int, per_day: int, rng: Rng) -> FloatArray:
    """No day at all: a slow walk around a mean."""
    return np.asarray(100 + 30 * _ar(n, 0.995, rng) + rng.normal(0, 1, n))


KINDS: dict[str, Callable[[int, int, Rng], FloatArray]] = {
    f.__name__: f
    for f in (requests, cpu, batch_job, memory_leak, disk, latency, queue, shifted, replicas, wandering)
}


def series(
    n_each: int,
    seed: int = 0,
    steps: tuple[int, ...] = (60, 300, 3600),
    days: tuple[int, int] = (14, 36),
) -> Iterator[tuple[str, int, FloatArray]]:
    """Name, step in seconds, and values over so many `days` (at one minute: ten)."""
    for k, (kind, make) in enumerate(KINDS.items()):
        for i in range(n_each):
            rng = np.random.default_rng((seed, k, i))
            step = steps[(i + k) % len(steps)]
            n_days = 10 if step < 300 else int(rng.integers(*days))
            per_day = 86400 // step
            yield f"{kind}_{i}", step, make(n_days * per_day, per_day, rng)
