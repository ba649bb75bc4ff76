"""Drift tells what people changed from what pronoia itself is about to change."""

from __future__ import annotations

import math
from pathlib import Path

import msgspec
import pytest

from rules.adapt.place_file import FilePlace
from rules.drift import drift_of, drift_of_place
from rules.publish import Publisher
from rules.publisher import Found
from sidecar.prometheus.answers import Rule
from sidecar.records import RuleRevision

BEGAN_NS = 1_700_000_000_000_000_000


class Silent:
    """A server that is not asked here."""

    async def reload(self) -> None:
        raise AssertionError("not asked here")

    async def rules(self) -> list[Rule]:
        raise AssertionError("not asked here")


def revision(text: str, state: str, group: str = "pronoia-a") -> RuleRevision:
    return RuleRevision(
        revision_id=f"{group}-{text}",
        group=group,
        created_at_ns=BEGAN_NS,
        content=text,
        content_hash=f"hash-{text}",
        evidence={"rewrites": [], "before": "groups: []  # before"},
        checks={},
        state=state,
    )


LIVE, NEXT, OLD = (
    revision(f"groups: []  # {name}", state)
    for name, state in (("live", "live"), ("next", "proposed"), ("old", "superseded"))
)


@pytest.mark.parametrize("own", [False, True], ids=["generated", "of people's own"])
@pytest.mark.parametrize(
    ("text", "began_ns", "fine", "instead"),
    [
        pytest.param(NEXT.content, BEGAN_NS, True, "(proposed)", id="being published"),
        pytest.param(NEXT.content, math.inf, False, "(proposed)", id="interrupted long ago"),
        pytest.param(OLD.content, BEGAN_NS, False, "(superseded)", id="half rolled back"),
        pytest.param("groups: []  # by hand", BEGAN_NS, False, "", id="edited"),
    ],
)
async def test_a_text_of_pronoias_own_is_no_edit(
    tmp_path: Path, own: bool, text: str, began_ns: float, fine: bool, instead: str
) -> None:
    history = [NEXT, LIVE, OLD]
    if own:
        place = FilePlace(tmp_path / "own.yaml")
        place.path.write_text(text)
        found = await drift_of_place(LIVE, place, [], history=history, lately_ns=began_ns)
    else:
        publisher = Publisher(tmp_path, Silent(), reload=True, verify_timeout_seconds=1.0)
        publisher.path(LIVE.group).write_text(text)
        found = await drift_of(LIVE, publisher, [], history=history, lately_ns=began_ns)
    assert (found.in_place, found.fine) == (Found.OTHER, fine)
    assert found.instead.endswith(instead)
    assert bool(found.instead) == bool(instead)


async def test_what_went_live_while_drift_looked_is_no_drift(tmp_path: Path) -> None:
    publisher = Publisher(tmp_path, Silent(), reload=True, verify_timeout_seconds=1.0)
    publisher.path(LIVE.group).write_text(NEXT.content)
    now_live = [
        msgspec.structs.replace(NEXT, state="live"),
        msgspec.structs.replace(LIVE, state="superseded"),
    ]
    assert (await drift_of(LIVE, publisher, [], history=now_live, lately_ns=math.inf)).fine


async def test_what_is_as_it_was_before_the_first_rewrite_was_edited_by_nobody(tmp_path: Path) -> None:
    place = FilePlace(tmp_path / "own.yaml")
    place.path.write_text("groups: []  # before")
    found = await drift_of_place(LIVE, place, [], history=[LIVE])
    assert (found.instead, found.fine) == ("what was there before it", False)
