"""Revisions of rules made by hand."""

from __future__ import annotations

import msgspec

from sidecar.records import RuleRevision


def revision(i: int, **changes: object) -> RuleRevision:
    """One of the group `g` that is live, but for the changes."""
    made = RuleRevision(
        revision_id=f"r{i}",
        group="g",
        created_at_ns=i,
        content="c",
        content_hash="h",
        evidence={"n": 1},
        checks={"promtool": "ok"},
        state="live",
    )
    return msgspec.structs.replace(made, **changes)
