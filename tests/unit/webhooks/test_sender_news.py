"""What is still news when it can be sent, and to whom it is."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.unit.webhooks.respond.incidents import incident
from tests.unit.webhooks.sending import AWAY, REFUSED, Bench, OnlyFirst, Recorder, message
from webhooks.notify.channel import Outgoing
from webhooks.notify.sender import _is_old_news


async def test_a_fallback_that_knows_already_is_not_told_twice(tmp_path: Path) -> None:
    first, second = Recorder(REFUSED), Recorder()
    bench = Bench(tmp_path, {"a": first, "b": second}, fallbacks={"a": "b"})
    async with bench:
        bench.notifier.consider([incident()])
        await bench.until(lambda: bool(first.uncertain) and second.got == ["opened i1"])
        bench.pass_time(1)
        async with asyncio.timeout(10):
            while await bench.states() != {"a/i1/1": "dead", "b/i1/1": "sent"}:
                await asyncio.sleep(0.005)
        assert second.got == ["opened i1"]


async def test_old_news_is_left_out_when_it_can_be_told_at_last(tmp_path: Path) -> None:
    slow = Recorder(AWAY)
    async with Bench(tmp_path, {"a": slow}) as bench:
        bench.notifier.consider([incident()])
        await bench.until(lambda: len(slow.uncertain) == 1)
        for n_stored, n in enumerate((10, 30, 90), start=2):
            bench.clock.now += 1
            bench.notifier.consider([incident(n_episodes=n)])
            await bench.stored(n_stored)
        slow.error = None
        bench.pass_time(10)
        await bench.until(lambda: len(slow.got) == 2)
        assert slow.got == ["opened i1", "updated i1"]
        async with asyncio.timeout(10):
            while "pending" in (states := sorted((await bench.states()).values())):
                await asyncio.sleep(0.005)
        assert states == ["sent", "sent", "superseded", "superseded"]


async def test_a_report_goes_by_the_outbox_and_is_no_incident(tmp_path: Path) -> None:
    target = Recorder()
    async with Bench(tmp_path, {"a": target}) as bench:
        await bench.notifier.send_report("a", "noise-1", title="Noise", text="| a |")
        await bench.until(lambda: target.got == ["report noise-1"])
    async with Bench(tmp_path, {"a": target}) as bench:
        bench.pass_time(1e6)
        assert await bench.states() == {"a/noise-1/1": "sent"}
    assert target.got == ["report noise-1"]


@pytest.mark.parametrize(
    ("kinds", "left"),
    [
        pytest.param(["opened", "updated", "updated"], ["opened", "updated"], id="the last update tells all"),
        pytest.param(["opened", "updated", "resolved"], ["opened", "resolved"], id="an end tells all"),
        pytest.param(
            ["opened", "acknowledged", "updated acknowledged"],
            ["opened", "acknowledged", "updated"],
            id="a pager must hear that it was taken on",
        ),
        pytest.param(["opened", "acknowledged", "updated"], ["opened", "updated"], id="taken on no more"),
        pytest.param(["acknowledged", "mitigated mitigated"], ["mitigated"], id="taken on twice"),
        pytest.param(["acknowledged", "resolved"], ["resolved"], id="taken on and over"),
        pytest.param(["resolved", "updated"], ["resolved", "updated"], id="ended and opened anew"),
    ],
)
def test_what_is_old_news(kinds: list[str], left: list[str]) -> None:
    made = []
    for number, words in enumerate(kinds):
        kind, _, status = words.partition(" ")
        made.append(message(kind, number, status or ("acknowledged" if kind == "acknowledged" else "open")))
    kept = [
        one.kind for at, one in enumerate(made) if not made[at + 1 :] or not _is_old_news(one, made[at + 1 :])
    ]
    assert kept == left


async def test_the_message_of_a_merge_names_the_incident_that_goes_on(tmp_path: Path) -> None:
    said: list[str] = []

    class Words(Recorder):
        async def send(self, outgoing: Outgoing) -> dict[str, str]:
            said.append(f"{outgoing.document['title']}\n{outgoing.document['text']}")
            return {}

    async with Bench(tmp_path, {"a": Words()}) as bench:
        bench.notifier.consider([incident()])
        await bench.until(lambda: len(said) == 1)
        bench.notifier.consider(
            [incident(state="merged", merged_into="i2"), incident("i2", title="lb: Down")]
        )
        await bench.until(lambda: len(said) == 3)
    merged = next(words for words in said if "merged into i2" in words)
    assert "part of incident i2 ([P2] lb: Down) now: follow that one" in merged


async def test_the_same_report_again_is_sent_once(tmp_path: Path) -> None:
    first = Recorder()
    async with Bench(tmp_path, {"a": first}) as bench:
        for _ in range(2):
            await bench.notifier.send_report("a", "noise-week-1", title="t", text="x")
            await bench.until(lambda: len(first.got) >= 1)
            async with asyncio.timeout(10):
                while "pending" in (await bench.states()).values():
                    await asyncio.sleep(0.005)
    async with Bench(tmp_path, {"a": first}) as again:
        await again.notifier.send_report("a", "noise-week-1", title="t", text="x")
        await again.notifier.send_report("a", "noise-week-2", title="t", text="x")
        await again.until(lambda: len(first.got) >= 2)
    assert first.got == ["report noise-week-1", "report noise-week-2"]


async def test_of_thousands_of_open_incidents_only_what_changed_is_decided_upon(tmp_path: Path) -> None:
    class Counting(OnlyFirst):
        asked = 0

        def listeners(self, *_: object, **__: object) -> list[str]:
            self.asked += 1
            return []

    async with Bench(tmp_path, {"a": Recorder()}) as bench:
        bench.notifier.audience = audience = Counting()
        bench.notifier.consider([incident(f"i{n}") for n in range(1000)])
        await bench.until(lambda: audience.asked >= 1000)
        for n in range(20):
            asked = audience.asked
            bench.notifier.consider([incident(f"i{n}")])
            await bench.until(lambda asked=asked: audience.asked > asked)
    # Besides what has changed, all of them every few seconds, and once more at the end.
    assert audience.asked < 1000 + 20 + 6 * 1000


async def test_nobody_is_called_for_what_has_gone_into_another_before_it_was_told_of(tmp_path: Path) -> None:
    first = Recorder()
    async with Bench(tmp_path, {"a": first}, per_minute=6) as bench:
        bench.notifier.consider([incident("i0")])
        await bench.until(lambda: first.got == ["opened i0"])
        bench.notifier.consider([incident("i1"), incident("i2")])
        await bench.stored(3)
        bench.notifier.consider([incident("i1", state="merged", merged_into="i2")])
        await bench.stored(4)
        bench.pass_time(60)
        await bench.until(lambda: "opened i2" in first.got)
        bench.pass_time(60)
        async with asyncio.timeout(10):
            while "pending" in (states := await bench.states()).values():
                await asyncio.sleep(0.005)
    assert first.got == ["opened i0", "opened i2"]
    assert (states["a/i1/1"], states["a/i1/2"]) == ("superseded", "superseded")


async def test_what_was_tried_and_has_gone_into_another_is_ended_there(tmp_path: Path) -> None:
    """It may have arrived, whatever the answer was."""
    away = Recorder(AWAY)
    async with Bench(tmp_path, {"a": away}) as bench:
        bench.notifier.consider([incident()])
        await bench.until(lambda: len(away.uncertain) == 1)
        await bench.stored(1)
        bench.notifier.consider([incident(state="merged", merged_into="i2")])
        await bench.stored(2)
        away.error = None
        bench.pass_time(60)
        await bench.until(lambda: away.got == ["opened i1", "merged i1"])
