"""The data model of the metrics loop: label sets, batches of series, and what is said of them.

N series are the rows of arrays; nothing here is an object per sample. Times are
int64 milliseconds since the epoch (UTC), as in Prometheus' TSDB.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
TimeArray = NDArray[np.int64]
RowArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

_FNV_OFFSET = 0xCBF29CE484222325
_FNV_PRIME = 0x100000001B3
_MASK64 = 0xFFFFFFFFFFFFFFFF


class LabelSet(Mapping[str, str]):
    """An immutable, hashable set of labels, sorted by name.

    Empty values are dropped, as in Prometheus, where an empty label and an
    absent one are the same.

    >>> LabelSet({"job": "api", "code": ""})
    LabelSet({'job': 'api'})
    """

    __slots__ = ("_hash", "pairs")

    def __init__(self, labels: Mapping[str, str] | Iterable[tuple[str, str]] = ()) -> None:
        items = labels.items() if isinstance(labels, Mapping) else labels
        self.pairs: tuple[tuple[str, str], ...] = tuple(sorted((k, v) for k, v in items if v))
        self._hash = hash(self.pairs)

    @classmethod
    def of_pairs(cls, pairs: tuple[tuple[str, str], ...]) -> LabelSet:
        """The set whose own `pairs` these once were: sorted, none empty; neither is looked at again."""
        made = cls.__new__(cls)
        made.pairs = pairs
        made._hash = hash(pairs)
        return made

    def __getitem__(self, name: str) -> str:
        for key, value in self.pairs:
            if key == name:
                return value
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return (key for key, _ in self.pairs)

    def __len__(self) -> int:
        return len(self.pairs)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        if isinstance(other, LabelSet):
            return self._hash == other._hash and self.pairs == other.pairs
        return Mapping.__eq__(self, other)

    def __repr__(self) -> str:
        return f"LabelSet({dict(self.pairs)!r})"

    def without(self, *names: str) -> LabelSet:
        """This set less the named labels."""
        return LabelSet((k, v) for k, v in self.pairs if k not in names)

    def fingerprint(self) -> str:
        """16 hex digits: 64-bit FNV-1a over the sorted labels, as Alertmanager's `fingerprint`.

        Source: prometheus/common, model.LabelSet.Fingerprint (name, 0xff, value, 0xff).
        """
        state = _FNV_OFFSET
        for name, value in self.pairs:
            for byte in name.encode() + b"\xff" + value.encode() + b"\xff":
                state = ((state ^ byte) * _FNV_PRIME) & _MASK64
        return f"{state:016x}"

    def selector(self) -> str:
        """The set as a PromQL series selector: `up{job="api"}`."""
        name = ""
        matchers: list[str] = []
        for key, value in self.pairs:
            if key == "__name__":
                name = value
            else:
                escaped = value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
                matchers.append(f'{key}="{escaped}"')
        return name + ("{" + ",".join(matchers) + "}" if matchers or not name else "")


@dataclass(frozen=True, slots=True)
class SeriesBatch:
    """One evaluation of one query: N series over T common timestamps.

    `labels`: N label sets, row order. `timestamps`: int64 ms, shape (T,),
    strictly increasing. `values`: float64, shape (N, T); NaN where a series has
    no sample (absent, stale or not a number). `warnings`: what the server said
    beside its answer, such as a partial response.
    """

    query: str
    labels: tuple[LabelSet, ...]
    timestamps: TimeArray
    values: FloatArray
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        expected = (len(self.labels), len(self.timestamps))
        if self.values.shape != expected:
            raise ValueError(f"values have shape {self.values.shape}, labels and timestamps say {expected}")

    @property
    def n_series(self) -> int:
        """N, the number of series."""
        return len(self.labels)

    @property
    def n_steps(self) -> int:
        """T, the number of points in time."""
        return len(self.timestamps)


@dataclass(frozen=True, slots=True)
class Expectation:
    """What was expected before each point was seen; all arrays (N, T), NaN while unknown.

    `level` is the share of normal points that the band claims to hold.
    """

    yhat: FloatArray
    lower: FloatArray
    upper: FloatArray
    level: float = 0.99


SHAPES: Mapping[int, str] = {1: "drifts_up", -1: "drifts_down", 2: "course", 3: "stands_still"}
"""What is anomalous of a series whose values may all lie inside the band, by the numbers in `Score.shape`."""


@dataclass(frozen=True, slots=True)
class Score:
    """How anomalous each point is; arrays (N, T).

    `anomaly_score`: 1 is the edge of the expected, above 1 is anomalous, NaN
    where nothing can be said. `direction`: +1 above, -1 below what was expected.
    `confidence`: 0..1, grows with what has been learnt of the series. `shape`: where the
    course is anomalous, whatever the value, which of `SHAPES`; else 0.
    """

    anomaly_score: FloatArray
    direction: NDArray[np.int8]
    confidence: FloatArray
    shape: NDArray[np.int8]


@dataclass(frozen=True, slots=True)
class Forecast:
    """Expected values at one horizon ahead of the last column; arrays (N,)."""

    horizon_seconds: float
    yhat: FloatArray
    lower: FloatArray
    upper: FloatArray
    level: float = 0.95


@dataclass(frozen=True, slots=True)
class Evaluation:
    """All that one evaluation of one query says: the input of every exporter.

    `labels` is the *same tuple object* as in the previous evaluation when the
    set of series did not change, so that sinks can keep what they built from it.
    `actual` and the arrays inside are (N,), the newest column; a row whose
    series is gone is NaN in `actual`.
    """

    query: str
    tenant: str
    timestamp_ms: int
    labels: tuple[LabelSet, ...]
    actual: FloatArray
    expected: FloatArray
    lower: FloatArray
    upper: FloatArray
    anomaly_score: FloatArray
    direction: NDArray[np.int8]
    confidence: FloatArray
    forecasts: tuple[Forecast, ...] = field(default=())
    accepted: BoolArray | None = None
    """(N,) where a level that stayed was accepted as the new normal; None: nowhere."""
    severity: NDArray[np.int8] | None = None
    """(N,) 0 where nothing is anomalous for long enough, 1 low, 2 medium, 3 high, 4 critical."""
    shape: NDArray[np.int8] | None = None
    """(N,) as in `Score`; None: nowhere."""
    absent: BoolArray | None = None
    """(N,) where a known series stopped and nothing took its place; None: nowhere."""
    step_seconds: float = 0.0
    """How often the query is evaluated; 0 where nobody told."""


@dataclass(frozen=True, slots=True)
class LearnedBand:
    """The learned expectation of a query by hour of week, for rules that outlive pronoia.

    `centre`, `lower`, `upper`: (N, 168), column 0 is Sunday 00:00-01:00 UTC, as
    PromQL's `day_of_week() * 24 + hour()`. `n_samples`: (N,), points learnt from.
    """

    query: str
    expr: str
    labels: tuple[LabelSet, ...]
    centre: FloatArray
    lower: FloatArray
    upper: FloatArray
    n_samples: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class ThresholdEta:
    """When a series is expected beyond an alert rule's threshold, with which probability."""

    labels: LabelSet
    rule: str
    threshold: str
    probability: float
    seconds: float
