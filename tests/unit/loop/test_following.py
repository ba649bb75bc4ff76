"""An anomaly that lasts goes on through a reload and a restart."""

from __future__ import annotations

from pathlib import Path

import pytest

from sidecar.loop.journal import Journal
from tests.unit.loop.test_watch import QUERY, judged_after, source_and_watches


@pytest.mark.parametrize("same", [True, False])
async def test_a_reload_amid_an_anomaly_neither_shortens_it_nor_tells_of_it_anew(
    tmp_path: Path, same: bool
) -> None:
    source, make = source_and_watches(tmp_path)
    query = QUERY.model_copy(update={"min_duration": 120.0})
    before = make(query=query)
    await before.prepare()
    await judged_after(before, source, 5)
    source.added = 1000.0
    await judged_after(before, source, 6)
    await before.checkpoint()
    assert before.evaluation is not None
    assert before.evaluation.severity is not None
    assert before.evaluation.severity.min() > 0
    after = make(query=query.model_copy(update={} if same else {"expr": "up2"}))
    assert after.evaluation is None
    after.take_over(before)
    if not same:
        assert after.evaluation is None
        return
    assert after.evaluation is before.evaluation
    with after._bus.subscribe() as events:
        await after.prepare()
        await judged_after(after, source, 1)
        assert after.evaluation is not before.evaluation
        assert after.evaluation.severity is not None
        assert after.evaluation.severity.min() > 0
        await judged_after(after, source, 2)
        after._bus.close()
        assert [event.kind async for event in events] == []


async def test_a_restart_amid_an_anomaly_does_not_shorten_it(
    tmp_path: Path,
) -> None:
    source, make = source_and_watches(tmp_path)
    journal = Journal(tmp_path)
    query = QUERY.model_copy(update={"min_duration": 600.0})
    before = make(journal, query=query)
    await before.prepare()
    await judged_after(before, source, 5)
    source.added = 1000.0
    await judged_after(before, source, 13)
    await before.checkpoint()
    journal.save()
    journal = Journal(tmp_path)
    after = make(journal, query=query, begun=journal.begun)
    await after.prepare()
    await judged_after(after, source, 1)
    severities = [
        watch.evaluation.severity.tolist()
        for watch in (before, after)
        if watch.evaluation is not None and watch.evaluation.severity is not None
    ]
    assert [min(each) > 0 for each in severities] == [True, True], "it has lasted for ten minutes"
