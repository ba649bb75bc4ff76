"""How well odd accounts of a streaming service are found:
`python -m tools.streaming_fraud`, a Markdown table.

Accounts are simulated, seeded and labelled by account and day. Four signals of each move with how
much its people listen: streams an hour, the share of them that is heard to the end, switches of
device, countries at once. Some days are fraud of four kinds; many more are only unusual: a party,
a journey, a new album. An account-day is flagged where a score of the account is above 1 in it.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from sidecar.config.model import QueryConfig
from sidecar.engine.model import QueryModel
from sidecar.series import BoolArray, FloatArray, LabelSet, SeriesBatch

STEP_SECONDS, DAYS, TEACHING_DAYS = 900, 21, 7
PER_DAY = 86400 // STEP_SECONDS
START_MS = 1_790_000_000_000 // 86_400_000 * 86_400_000
SIGNALS = ("streams_per_hour", "completion_ratio", "device_switches", "countries_at_once")

Rng = np.random.Generator


@dataclass(frozen=True)
class Listening:
    """One account's signals before they are counted, each (T,)."""

    streams: FloatArray
    completion: FloatArray
    switches: FloatArray
    countries: FloatArray


def _farm(day: Listening, rng: Rng) -> None:
    """Streams around the clock, each given up as soon as it counts, from one device."""
    day.streams[:] = np.maximum(day.streams, rng.uniform(6, 14))
    day.completion[:] = rng.uniform(0.25, 0.4)
    day.switches[:] = 0.0


def _shared(day: Listening, rng: Rng) -> None:
    """The password is for sale: several countries and devices at once."""
    day.streams[:] *= rng.uniform(1.3, 2.5)
    day.switches[:] *= rng.uniform(3, 6)
    day.countries[:] += rng.integers(2, 4)


def _loop(day: Listening, rng: Rng) -> None:
    """One track all night, heard to the end each time."""
    begin = int(rng.integers(0, PER_DAY // 3))
    night = slice(begin, begin + PER_DAY // 3)
    day.streams[night] = rng.uniform(10, 16)
    day.completion[night] = 0.99
    day.switches[night] = 0.0


def _blended(day: Listening, rng: Rng) -> None:
    """Bought streams among real ones: more at the usual hours, given up sooner, no device of its own."""
    day.streams[:] *= rng.uniform(1.6, 2.2)
    day.completion[:] -= rng.uniform(0.12, 0.2)
    day.switches[:] *= 0.3


def _party(day: Listening, rng: Rng) -> None:
    evening = slice(PER_DAY * 3 // 4, PER_DAY * 23 // 24)
    day.streams[evening] *= rng.uniform(2, 3)
    day.switches[evening] *= rng.uniform(2, 3)


def _journey(day: Listening, rng: Rng) -> None:
    day.countries[int(rng.integers(0, PER_DAY // 2)) :] += 1.0


def _album(day: Listening, rng: Rng) -> None:
    day.streams[:] *= rng.uniform(1.5, 2.5)
    day.completion[:] = np.minimum(day.completion + 0.12, 0.95)


FRAUD: dict[str, Callable[[Listening, Rng], None]] = {
    "farm": _farm,
    "shared": _shared,
    "loop": _loop,
    "blended": _blended,
}
UNUSUAL: tuple[Callable[[Listening, Rng], None], ...] = (_party, _journey, _album)


@dataclass(frozen=True)
class Accounts:
    """Values (accounts, signals, T), and which account-days are fraud, of which kind ("" is none)."""

    values: FloatArray
    fraud: BoolArray
    kind: list[list[str]]


def _usual(n_accounts: int, rng: Rng) -> list[Listening]:
    t = np.arange(DAYS * PER_DAY)
    found = []
    for _ in range(n_accounts):
        mood = np.zeros(len(t))
        noise = rng.normal(0, 0.12, len(t))
        for at in range(1, len(t)):
            mood[at] = 0.97 * mood[at - 1] + noise[at]
        day = 0.15 + np.maximum(np.sin(2 * np.pi * (t / PER_DAY - rng.uniform(0.2, 0.5))), 0.0)
        streams = rng.uniform(3, 8) * day * np.exp(mood)
        completion = np.full(len(t), rng.uniform(0.6, 0.8))
        found.append(Listening(streams, completion, rng.uniform(0.2, 0.5) * streams / 4, np.ones(len(t))))
    return found


def _counted(one: Listening, rng: Rng) -> FloatArray:
    """The signals as they are measured, over the last hour."""
    streams = rng.poisson(4 * one.streams) / 4
    heard = rng.binomial((4 * streams).astype(int), one.completion)
    completion = (heard + 2 * one.completion) / (4 * streams + 2)
    return np.stack([streams, completion, rng.poisson(4 * one.switches) / 4, one.countries])


def simulate(n_accounts: int, base_rate: float, unusual_rate: float, seed: int) -> Accounts:
    """Accounts of three weeks; of the days after the first week these shares are fraud and unusual."""
    rng = np.random.default_rng(seed)
    fraud = np.zeros((n_accounts, DAYS), dtype=np.bool_)
    kind = [["" for _ in range(DAYS)] for _ in range(n_accounts)]
    values = np.empty((n_accounts, len(SIGNALS), DAYS * PER_DAY))
    for account, one in enumerate(_usual(n_accounts, rng)):
        for day in range(TEACHING_DAYS, DAYS):
            part = slice(day * PER_DAY, (day + 1) * PER_DAY)
            today = Listening(
                one.streams[part], one.completion[part], one.switches[part], one.countries[part]
            )
            drawn = rng.random()
            if drawn < base_rate:
                kind[account][day] = str(rng.choice(list(FRAUD)))
                FRAUD[kind[account][day]](today, rng)
                fraud[account, day] = True
            elif drawn < base_rate + unusual_rate:
                UNUSUAL[int(rng.integers(len(UNUSUAL)))](today, rng)
        values[account] = _counted(one, rng)
    return Accounts(values, fraud, kind)


def flagged_days(accounts: Accounts, detector: str, false_alarms: float) -> BoolArray:
    """Which account-days have a score above 1, (accounts, DAYS)."""
    n_accounts = len(accounts.values)
    labels = tuple(
        LabelSet({"account": str(account), "signal": signal})
        for account in range(n_accounts)
        for signal in SIGNALS
    )
    query = QueryConfig(
        name="listening",
        expr="listening",
        step=STEP_SECONDS,
        detector=detector,
        group_by=("account",),
        forecast_horizons=(),
        false_alarms_per_series_per_month=false_alarms,
    )
    times = START_MS + np.arange(DAYS * PER_DAY, dtype=np.int64) * STEP_SECONDS * 1000
    values = accounts.values.reshape(n_accounts * len(SIGNALS), -1)
    _, _, score = QueryModel(query).score(SeriesBatch("listening", labels, times, values))
    flagged = np.nan_to_num(score.anomaly_score) > 1
    return np.asarray(flagged.reshape(n_accounts, len(SIGNALS), DAYS, PER_DAY).any(axis=(1, 3)))


@dataclass(frozen=True)
class Found:
    """Of the account-days after the first week: how well fraud was told from the rest."""

    precision: float
    recall: float
    false_alarm_rate: float
    by_kind: dict[str, float]

    def precision_at(self, base_rate: float) -> float:
        """What the precision would be were so many account-days fraud."""
        right, wrong = self.recall * base_rate, self.false_alarm_rate * (1 - base_rate)
        return right / max(right + wrong, 1e-12)


def judge(accounts: Accounts, flagged: BoolArray) -> Found:
    """Count what was flagged."""
    judged = slice(TEACHING_DAYS, DAYS)
    truth, said = accounts.fraud[:, judged], flagged[:, judged]
    kinds = np.array(accounts.kind)[:, judged]
    return Found(
        precision=float(truth[said].mean()) if said.any() else 0.0,
        recall=float(said[truth].mean()),
        false_alarm_rate=float(said[~truth].mean()),
        by_kind={kind: float(said[kinds == kind].mean()) for kind in FRAUD if (kinds == kind).any()},
    )


def main() -> None:
    """Simulate, judge by groups and by single series, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--accounts", type=int, default=400)
    parser.add_argument("--base-rate", type=float, default=0.02, help="share of account-days that are fraud")
    parser.add_argument("--unusual", type=float, default=0.05, help="share that is only unusual")
    parser.add_argument("--false-alarms", type=float, default=0.25, help="budget a series and 30 days")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    accounts = simulate(given.accounts, given.base_rate, given.unusual, given.seed)
    print(
        f"{given.accounts} accounts, {accounts.fraud[:, TEACHING_DAYS:].size} account-days, "
        f"{accounts.fraud.sum()} of them fraud, {given.unusual:.0%} unusual\n"
    )
    heads = ["detector", "precision", "recall", *(f"recall: {kind}" for kind in FRAUD), "false alarms a day"]
    heads += ["precision at 0.1 %"]
    print("| " + " | ".join(heads) + " |\n" + "| --- " * len(heads) + "|")
    for detector in ("multivariate", "ensemble"):
        found = judge(accounts, flagged_days(accounts, detector, given.false_alarms))
        cells = [f"{found.precision:.2f}", f"{found.recall:.2f}"]
        cells += [f"{found.by_kind.get(kind, float('nan')):.2f}" for kind in FRAUD]
        cells += [f"{found.false_alarm_rate:.2%} of accounts", f"{found.precision_at(0.001):.2f}"]
        print(f"| {detector} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
