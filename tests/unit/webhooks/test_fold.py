"""One episode from firing to resolved, in whatever order and however often it is told."""

from __future__ import annotations

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.records import Delivery, Episode
from tests.unit.webhooks.deliveries import EPOCH, SECOND, T0, T1, T2, T3, alert, delivery
from webhooks.intake.fold import Changes, Memory


def told(*deliveries: Delivery) -> tuple[Memory, dict[tuple[str, str, int], Episode]]:
    """Memory after these deliveries, each its own commit, and what a store would hold."""
    memory = Memory()
    stored: dict[tuple[str, str, int], Episode] = {}
    for one in deliveries:
        changes = memory.fold([one])
        for episode in changes.durable():
            stored[episode.key] = episode
        memory.apply(changes)
    return memory, stored


def summary(stored: dict[tuple[str, str, int], Episode]) -> list[tuple[int, str, int | None]]:
    return sorted(
        ((e.starts_at_ns - EPOCH) // SECOND, e.state, e.ends_at_ns and (e.ends_at_ns - EPOCH) // SECOND)
        for e in stored.values()
    )


@pytest.mark.parametrize(
    ("deliveries", "expected"),
    [
        pytest.param([alert()], [(0, "firing", None)], id="fires"),
        pytest.param([alert(), alert(), alert()], [(0, "firing", None)], id="repeats"),
        pytest.param([alert(), alert(ends=T1)], [(0, "resolved", 600)], id="resolves"),
        pytest.param(
            [alert(starts=T1), alert(starts=T1, ends=T0)],
            [(600, "resolved", 600)],
            id="ends before it began: clocks disagree",
        ),
        pytest.param([alert(starts=T1, ends=T0)], [(600, "resolved", 600)], id="and was never seen firing"),
        pytest.param(
            [alert(), alert(ends=T1), alert()], [(0, "resolved", 600)], id="6: a late firing, same start"
        ),
        pytest.param([alert(ends=T1), alert()], [(0, "resolved", 600)], id="6: resolved wins, told first"),
        pytest.param(
            [alert(), alert(ends=T1), alert(starts=T2)],
            [(0, "resolved", 600), (1200, "firing", None)],
            id="6: a newer start is a new episode",
        ),
        pytest.param(
            [alert(starts=T2), alert(ends=T1)],
            [(0, "resolved", 600), (1200, "firing", None)],
            id="6: an old end ends no new one",
        ),
        pytest.param(
            [alert(), alert(starts=T2)],
            [(0, "resolved", 1200), (1200, "firing", None)],
            id="a resolve that never came is implied by the next start",
        ),
        pytest.param(
            [alert(starts=T2), alert(starts=T1)], [(1200, "firing", None)], id="a start moved back folds in"
        ),
        pytest.param(
            [alert(starts=T2), alert(starts=T1), alert(starts=T1, ends=T3)],
            [(1200, "resolved", 1800)],
            id="and its end ends the episode",
        ),
        pytest.param([alert(ends=T1)], [(0, "resolved", 600)], id="never seen firing"),
        pytest.param(
            [alert(), alert("Other", ends=T1)],
            [(0, "firing", None), (0, "resolved", 600)],
            id="7: another member's end ends only that member",
        ),
    ],
)  # fmt: skip
def test_episodes(deliveries: list[dict[str, object]], expected: list[tuple[int, str, int | None]]) -> None:
    _, stored = told(*(delivery(one, at_seconds=i) for i, one in enumerate(deliveries)))
    assert summary(stored) == expected


def test_checklist_7_the_groups_status_resolves_nobody() -> None:
    """3.7.7: a group told as resolved while a member fires leaves that member firing."""
    _, stored = told(delivery(alert(), status="resolved"))
    assert summary(stored) == [(0, "firing", None)]


def test_checklist_8_absence_from_a_payload_means_nothing() -> None:
    """3.7.8: truncated or not, who is not mentioned is as before."""
    memory, _ = told(delivery(alert("A"), alert("B")), delivery(alert("A"), truncatedAlerts=1, at_seconds=9))
    assert memory.truncated_at_ns == {"default": EPOCH + 9 * SECOND}
    assert sorted(e.state for e in memory.episodes.values()) == ["firing", "firing"]


def test_checklist_10_two_alertmanagers_are_one_source() -> None:
    """3.7.10: who delivers does not count, only what."""
    one = delivery(alert(), externalURL="http://am-0")
    two = delivery(alert(), externalURL="http://am-1", at_seconds=15)
    memory, stored = told(one, two)
    assert len(stored) == 1
    (episode,) = memory.episodes.values()
    assert episode.deliveries == 2


def test_checklist_6_resolved_wins_and_only_a_newer_start_fires_anew() -> None:
    """3.7.6: told late, told twice or told by a peer that lags, the same start stays resolved."""
    memory, stored = told(delivery(alert(ends=T1)), delivery(alert()), delivery(alert(), at_seconds=900))
    assert summary(stored) == [(0, "resolved", 600)]
    assert memory.fold([delivery(alert())]).n_stale == 1
    assert memory.fold([delivery(alert(starts=T2))]).durable()[-1].state == "firing"


EVENTS = [alert(), alert(ends=T1), alert(starts=T2), alert(starts=T2, ends=T3)]


@pytest.mark.parametrize("order", list(permutations(range(4))))
def test_in_any_order_two_episodes_are_the_same_two(order: tuple[int, ...]) -> None:
    memory, stored = told(*(delivery(EVENTS[i], at_seconds=n) for n, i in enumerate(order)))
    assert summary(stored) == [(0, "resolved", 600), (1200, "resolved", 1800)]
    (newest,) = memory.episodes.values()
    assert (newest.starts_at_ns - EPOCH) // SECOND == 1200
    assert memory.n_open == 0


@given(st.data())
def test_however_a_pair_interleaves_and_repeats_the_episodes_are_the_same(data: st.DataObject) -> None:
    """Each of a pair tells of three alerts in order, as often as it likes, and in groups of any make-up."""
    names = ("A", "B", "C")
    stories = [alert(), alert(ends=T1), alert(starts=T2), alert(starts=T2, ends=T3)]
    groups = []
    for peer in ("am-0", "am-1"):
        for at, story in enumerate(stories):
            parts = data.draw(st.permutations(names))
            cut = data.draw(st.integers(0, len(names)))
            for some in (parts[:cut], parts[cut:]):
                members = [{**story, "labels": {"alertname": name}, "fingerprint": name} for name in some]
                groups += [(at, members, peer)] * data.draw(st.integers(1, 2))
    shuffled = data.draw(st.permutations(groups)) if data.draw(st.booleans()) else groups
    _, stored = told(*(delivery(*members, externalURL=peer) for _, members, peer in shuffled))
    assert summary(stored) == [(0, "resolved", 600)] * 3 + [(1200, "resolved", 1800)] * 3


@given(st.lists(st.sampled_from(range(4)), max_size=12))
def test_a_replayed_delivery_changes_no_state(sequence: list[int]) -> None:
    deliveries = [delivery(EVENTS[i], at_seconds=n) for n, i in enumerate(sequence)]
    memory, once = told(*deliveries)
    _, twice = told(*[d for one in deliveries for d in (one, one)])
    assert summary(once) == summary(twice)
    assert memory.n_open == sum(e.state != "resolved" for e in memory.episodes.values())


@given(st.lists(st.sampled_from(range(4)), min_size=1, max_size=12), st.integers(0, 11))
def test_commits_may_be_cut_anywhere(sequence: list[int], cut: int) -> None:
    deliveries = [delivery(EVENTS[i], at_seconds=n) for n, i in enumerate(sequence)]
    _, separate = told(*deliveries)
    memory = Memory()
    stored: dict[tuple[str, str, int], Episode] = {}
    for part in (deliveries[:cut], deliveries[cut:]):
        changes = memory.fold(part)
        stored.update((episode.key, episode) for episode in changes.durable())
        memory.apply(changes)
    assert summary(stored) == summary(separate)


@given(st.lists(st.sampled_from(range(4)), min_size=2, max_size=12), st.data())
def test_what_is_folded_while_the_former_is_stored_is_the_same(
    sequence: list[int], data: st.DataObject
) -> None:
    """Also where the former is applied half-way through the next one."""
    deliveries = [delivery(EVENTS[i], at_seconds=n) for n, i in enumerate(sequence)]
    memory, separate = told(*deliveries)
    first, second = sorted(data.draw(st.tuples(*[st.integers(0, len(sequence))] * 2)))
    piped = Memory()
    before = piped.fold(deliveries[:first])
    after = piped.fold(deliveries[first:second], into=Changes(over=before))
    piped.apply(before)
    after.over = None
    piped.fold(deliveries[second:], into=after)
    piped.apply(after)
    stored = {episode.key: episode for changes in (before, after) for episode in changes.durable()}
    assert summary(stored) == summary(separate)
    assert [e.deliveries for e in piped.episodes.values()] == [e.deliveries for e in memory.episodes.values()]


def test_a_failed_commit_leaves_memory_as_it_was() -> None:
    memory = Memory()
    memory.fold([delivery(alert())])  # Not applied: the store refused.
    assert memory.episodes == {}
    assert [e.state for e in memory.fold([delivery(alert())]).durable()] == ["firing"]


def test_repeats_are_not_written_each_time() -> None:
    memory, _ = told(delivery(alert()))
    assert memory.fold([delivery(alert(), at_seconds=5)]).durable() == []
    assert len(memory.fold([delivery(alert(), at_seconds=90)]).durable()) == 1


def test_a_storm_s_episodes_are_forgotten_in_slices_and_wholly() -> None:
    """Their keys, kept to let go of them first where there are too many, stayed for ever."""
    memory = Memory()
    memory.birthplace["default"] = "storm"
    for times in ({}, {"ends": T1}):
        memory.apply(memory.fold([delivery(*(alert(f"A{i}", **times) for i in range(5)), alert("B"))]))
    slices = [memory.forget_resolved(EPOCH + 10**15, most=2) for _ in range(4)]
    assert slices == [2, 2, 1, 0]
    assert [e.labels["alertname"] for e in memory.episodes.values()] == ["B"]
    assert list(memory._of_storms) == list(memory.episodes)


def test_resolved_episodes_are_forgotten_after_a_while() -> None:
    memory, _ = told(delivery(alert("A")), delivery(alert("B", starts=T0, ends=T1)))
    assert memory.forget_resolved(EPOCH + 10**15) == 1
    assert [e.labels["alertname"] for e in memory.episodes.values()] == ["A"]
