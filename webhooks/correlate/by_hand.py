"""What people correct of correlation: incidents put together or taken apart by hand."""

from __future__ import annotations

import time
from collections.abc import Callable

from webhooks.correlate.group import Group
from webhooks.correlate.placing import Placing
from webhooks.respond.lifecycle import ActionError


class ByHand:
    """Merges and splits incidents that correlation still holds; what it has let go of stays as it is."""

    def __init__(
        self, placing: Placing, wake: Callable[[], None], *, now: Callable[[], float] = time.time
    ) -> None:
        self._placing = placing
        self._wake = wake
        self._now = now

    def merge(self, incident_id: str, into: str) -> str:
        """Let one incident go into the other, as the correlator does; the id that stays.

        Raises: ActionError.
        """
        one, other = self._group(incident_id), self._group(into)
        if one is other:
            raise ActionError("an incident cannot go into itself")
        if (one.tenant, one.cluster) != (other.tenant, other.cluster):
            raise ActionError("these are of different tenants or clusters")
        merge = self._placing.analyst.correlator.merge(one, other)
        self._placing.take_merge(merge, self._now())
        self._wake()
        return merge.into

    def split(self, incident_id: str, names: list[str]) -> str:
        """Take alerts (by fingerprint) or rules (by name) out of an incident; the id of theirs.

        Raises: ActionError where that would leave one of both empty.
        """
        group = self._group(incident_id)
        wanted = set(names)
        moved = [
            seen
            for key, seen in group.members.items()
            if key[1] in wanted or seen.episode.labels.get("alertname") in wanted
        ]
        if not moved or len(moved) == len(group.members):
            raise ActionError("name some of its alerts, by fingerprint or rule, and not all of them")
        taken = {seen.key for seen in moved}
        split = self._placing.analyst.correlator.split(group, taken, "taken out by hand")
        self._placing.take_split(split)
        self._wake()
        return split.new

    def _group(self, incident_id: str) -> Group:
        group = self._placing.analyst.correlator.groups.get(incident_id)
        if group is None:
            raise ActionError(
                f"{incident_id} is a storm, is long over, or went into another; it cannot be changed so"
            )
        return group
