"""The journal remembers events, over restarts and new models, and explains from memory alone."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from structlog.testing import capture_logs

from sidecar.config.runbooks import RunbookConfig
from sidecar.loop.explain import explain, explain_open, span
from sidecar.loop.journal import Journal
from sidecar.loop.severity import QUIET_STEPS
from sidecar.series import Evaluation, LabelSet

STEP_MS = 60_000
LABELS = tuple(LabelSet({"__name__": "load", "pod": str(i)}) for i in range(6))


class Told:
    """Evaluations one after another, of a query whose usual is 10 with a band of 8 to 12."""

    def __init__(self, journal: Journal, query: str = "load", labels: Sequence[LabelSet] = LABELS) -> None:
        self.journal, self.query, self.labels = journal, query, tuple(labels)
        self.at_ms = 1_790_000_000_000
        self.rng = np.random.default_rng(3)

    def step(
        self, n: int = 1, *, values: dict[int, float] | None = None, accepted: int | None = None
    ) -> None:
        for _ in range(n):
            self.at_ms += STEP_MS
            actual = 10 + self.rng.normal(0, 0.5, len(self.labels))
            for row, value in (values or {}).items():
                actual[row] = value
            far = np.abs(actual - 10) / 2
            known = np.zeros(len(actual), dtype=np.bool_)
            if accepted is not None:
                known[accepted] = True
            full = np.full(len(actual), 10.0)
            self.journal.publish(
                Evaluation(
                    self.query, "default", self.at_ms, self.labels, actual, full, full - 2, full + 2, far,
                    np.sign(np.nan_to_num(actual - 10)).astype(np.int8), np.ones(len(actual)), accepted=known,
                    step_seconds=STEP_MS / 1000,
                )
            )  # fmt: skip


def fingerprint(row: int) -> str:
    return LABELS[row].fingerprint()


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "models")


def test_an_event_is_explained_with_what_was_like_it(journal: Journal) -> None:
    told = Told(journal)
    told.step(400)
    told.step(10, values={2: 20.0})
    told.step(200)
    told.step(6, values={2: 0.0})
    told.step(900)
    told.step(8, values={2: 20.0})
    found = explain(journal, "load", fingerprint(2))
    assert found["anomalous"]
    assert found["since_ms"] == told.at_ms - 7 * STEP_MS
    best = found["earlier"][0]
    assert (best["same_series"], best["outcome"]) == (True, "came back")
    assert best["ended_ms"] - best["started_ms"] == 12 * STEP_MS
    assert best["distance"] < 0.1
    assert len(found["earlier"]) == 1, "the drop is not like a rise"
    assert found["witnesses"]["siblings"] > 1
    assert found["once_in_seconds"] > 86400
    for words in ("expected was 10", "8 to 12", "7 minutes ago", "came back after 12 minutes", "once in"):
        assert words in found["text"]


def test_who_broke_at_the_same_time_and_what_to_do(journal: Journal) -> None:
    told, other = Told(journal), Told(journal, "errors")
    runbooks = (
        RunbookConfig(name="rise", match={"pod": "[0-3]"}, direction="above", actions=("scale out",), url="https://r"),
        RunbookConfig(name="drop", direction="below", actions=("look at the balancer",)),
        RunbookConfig(name="other", queries=("errors",), actions=("call",)),
    )  # fmt: skip
    for one in (told, other):
        one.step(30)
    told.step(2, values={1: 30.0})
    other.step(2, values={1: 20.0, 4: 20.0})
    worst, *rest = explain_open(journal, None, 10, runbooks)
    assert worst["labels"]["pod"] == "1"
    assert len(rest) == 2
    assert [(one["query"], one["shared_labels"]) for one in worst["same_time"]] == [
        ("errors", 2),
        ("errors", 1),
    ]
    assert [one["runbook"] for one in worst["actions"]] == ["rise"]
    assert "scale out" in worst["text"]
    assert "2 other series, of errors" in worst["text"]
    assert len(explain_open(journal, "errors", 1, runbooks)) == 1


@pytest.mark.parametrize(
    ("end", "outcome"),
    [("back", "came back"), ("accepted", "accepted as the new normal"), ("gone", "the series went away")],
)
def test_what_became_of_it(journal: Journal, end: str, outcome: str) -> None:
    told = Told(journal)
    told.step(30)
    told.step(3, values={0: 20.0})
    if end == "accepted":
        told.step(1, values={0: 20.0}, accepted=0)
    else:
        told.step(4, values={0: np.nan} if end == "gone" else None)
    assert explain_open(journal, None, 10) == []
    told.step(1, values={0: 20.0})
    (found,) = explain_open(journal, None, 10)
    assert found["earlier"][0]["outcome"] == outcome


def test_a_row_that_becomes_another_series_starts_anew(journal: Journal) -> None:
    told = Told(journal)
    told.step(30)
    told.step(2, values={0: 20.0})
    told.labels = (LabelSet({"__name__": "load", "pod": "new"}), *LABELS[1:])
    told.step(1)
    assert explain_open(journal, None, 10) == []
    with pytest.raises(KeyError):
        explain(journal, "load", fingerprint(0))
    assert explain(journal, "load", told.labels[0].fingerprint())["watched_seconds"] == 60


def test_a_new_process_remembers(journal: Journal, tmp_path: Path) -> None:
    told = Told(journal)
    told.step(1500)
    told.step(5, values={3: 20.0})
    told.step(5)
    before = explain(journal, "load", fingerprint(3))
    journal.save()
    again = Told(Journal(tmp_path / "models"))
    again.at_ms = told.at_ms
    # The rows of a restored model may stand in another order.
    again.labels = LABELS[::-1]
    again.step(2)
    again.step(5, values={2: 20.0})
    after = explain(again.journal, "load", fingerprint(3))
    assert after["earlier"][0]["same_series"]
    assert after["watched_seconds"] == before["watched_seconds"] + 6 * 60


def test_an_anomaly_that_lasts_over_a_restart_began_when_it_did(journal: Journal, tmp_path: Path) -> None:
    told = Told(journal)
    told.step(200)
    told.step(30, values={1: 20.0, 3: 20.0, 4: 20.0})
    before = explain(journal, "load", fingerprint(1))
    journal.save()
    again = Told(Journal(tmp_path / "models"), labels=LABELS[::-1])
    again.at_ms = told.at_ms + 5 * STEP_MS
    # Of three one goes on, one is over, one is not there yet when the process looks first.
    again.step(1, values={len(LABELS) - 2: 20.0, len(LABELS) - 5: np.nan})
    again.step(4, values={len(LABELS) - 2: 20.0, len(LABELS) - 5: 20.0})
    for row in (1, 4):
        after = explain(again.journal, "load", fingerprint(row))
        assert after["since_ms"] == before["since_ms"]
        assert after["peak_score"] == before["peak_score"]
    assert explain(again.journal, "load", fingerprint(3))["anomalous"] is False
    again.step(QUIET_STEPS + 1)
    again.step(1, values={len(LABELS) - 4: 20.0})
    earlier = explain(again.journal, "load", fingerprint(3))["earlier"]
    own = [one for one in earlier if one["same_series"]]
    assert [one["outcome"] for one in own] == ["came back"]


def test_an_anomaly_of_another_week_is_another_one(journal: Journal, tmp_path: Path) -> None:
    told = Told(journal)
    told.step(200)
    told.step(30, values={1: 20.0})
    journal.save()
    again = Told(Journal(tmp_path / "models"))
    again.at_ms = told.at_ms + 7 * 86_400_000
    again.step(1, values={1: 20.0})
    assert explain(again.journal, "load", fingerprint(1))["since_ms"] == again.at_ms


def test_after_an_outage_the_same_time_is_as_short_as_ever(journal: Journal) -> None:
    told = Told(journal)
    told.step(200)
    told.step(1, values={1: 20.0})
    told.at_ms += 6 * 3_600_000
    told.step(1, values={1: 20.0, 2: 20.0})
    assert explain(journal, "load", fingerprint(2))["same_time"] == []


@pytest.mark.parametrize("content", [b"", b"PK nothing", b"\0" * 100])
def test_a_damaged_file_is_set_aside(journal: Journal, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "load.events").write_bytes(content)
    with capture_logs() as logs:
        Told(journal).step(3)
    (told,) = logs
    assert told["path"].endswith("load.events")
    assert "pickle" not in told["err"]
    assert explain(journal, "load", fingerprint(0))["anomalous"] is False


def test_fewer_rows_are_another_model_and_the_past_is_kept(journal: Journal) -> None:
    told = Told(journal)
    told.step(100)
    told.step(5, values={0: 20.0})
    told.step(5)
    told.labels = LABELS[:2]
    told.step(2)
    told.step(3, values={0: 20.0})
    (found,) = explain_open(journal, None, 10)
    assert found["earlier"][0]["same_series"]
    assert found["watched_seconds"] > 100 * 60


def test_an_explanation_of_a_fleet_takes_less_than_a_tenth_of_a_second(journal: Journal) -> None:
    labels = tuple(LabelSet({"__name__": "load", "pod": str(i)}) for i in range(20_000))
    told = Told(journal, labels=labels)
    told.step(3)
    for _ in range(11):
        told.step(2, values={row: 20.0 + row for row in range(60)})
        told.step(4)
    told.step(2, values={row: 20.0 + row for row in range(60)})
    began = time.thread_time()  # Of this thread alone: others that wait for the machine do not count.
    found = explain(journal, "load", labels[59].fingerprint())
    assert time.thread_time() - began < 0.1
    assert found["anomalous"]
    assert len(found["earlier"]) == 3


def test_how_rare_is_known_at_once_of_a_past_that_was_learnt_from(journal: Journal) -> None:
    tails = np.zeros((len(LABELS), 5))
    tails[:, 4] = 10 * 86400.0
    tails[0, :2] = 20.0, 6.0
    journal.learn("load", LABELS, tails)
    told = Told(journal)
    told.step(3, values={0: 14.0})
    found = explain(journal, "load", fingerprint(0))
    assert found["watched_seconds"] == pytest.approx(10 * 86400 + 120)
    assert 86400 < found["once_in_seconds"] < 400 * 86400
    assert "about once in" in found["text"]
    journal.save()

    short = np.zeros((len(LABELS), 5))
    short[:, 4] = 86400.0
    again = Journal(journal.directory)
    again.learn("load", LABELS, short)
    Told(again).step(1)
    assert explain(again, "load", fingerprint(0))["watched_seconds"] > 10 * 86400, "the longer memory counts"


def test_unknown_queries_and_spans() -> None:
    with pytest.raises(KeyError):
        explain_open(Journal(Path("nowhere")), "nope", 10)
    assert [span(s) for s in (12, 59, 90, 5400, 36 * 3600, 400 * 86400)] == [
        "12 seconds", "1 minute", "2 minutes", "2 hours", "2 days", "13 months",
    ]  # fmt: skip


def test_since_when_something_lasts_is_known_here_and_after_a_restart(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    told = Told(journal)
    told.step(20)
    begins = told.at_ms + STEP_MS
    told.step(5, values={1: 30.0})
    assert journal.begun("load", told.at_ms) == {LABELS[1]: begins}
    journal.save()
    again = Journal(tmp_path)
    assert again.begun("load", told.at_ms + 60_000) == {LABELS[1]: begins}
    assert again.begun("load", told.at_ms + 7_200_000) == {}, "hours later it is another one"
    assert again.begun("other", told.at_ms) == {}
    told.journal = again
    told.step(values={1: 30.0})
    assert again.begun("load", told.at_ms) == {LABELS[1]: begins}
    told.step(QUIET_STEPS)
    assert again.begun("load", told.at_ms) == {}


def test_one_file_that_cannot_be_written_keeps_no_other_from_it(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    for query in ("a", "b"):
        Told(journal, query).step(5)
    (tmp_path / "a.events").mkdir()
    with pytest.raises(OSError, match=r"a\.events"):
        journal.save()
    assert (tmp_path / "b.events").is_file()
