"""Who has resolved incidents like this one: people worth asking, by what they did. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from sidecar.records import Incident, Response
from webhooks.respond.similar import ENOUGH, similarity

HALF_LIFE_SECONDS = 90 * 86400.0
"""What somebody did so long ago counts half."""
WROTE_A_FIX = 2.0
"""So much more than being there counts having written down what helped."""
AT_LEAST = 0.4
"""Less than a recent incident that was much alike is no expertise."""


def experts(
    incident: Incident,
    past: Iterable[Incident],
    responses: Mapping[str, Response],
    *,
    people: Iterable[str],
    now: float,
) -> list[str]:
    """Names of people who took on what was like it, the most experienced first. Only of `people`."""
    known = {name.casefold(): name for name in people}
    weights: defaultdict[str, float] = defaultdict(float)
    for other in past:
        response = responses.get(other.incident_id)
        if response is None or other.incident_id == incident.incident_id or other.noise >= 0.5:
            continue
        name = known.get(_bare(response.assignee))
        alike = similarity(incident, other) if name is not None else 0.0
        if name is None or alike < ENOUGH:
            continue
        age = max(now - other.started_at_ns / 1e9, 0.0)
        fixed = WROTE_A_FIX if response.fix else 1.0
        weights[name] += alike * fixed * 0.5 ** (age / HALF_LIFE_SECONDS)
    ranked = sorted(weights.items(), key=lambda pair: (-pair[1], pair[0]))
    return [name for name, weight in ranked if weight >= AT_LEAST]


def _bare(actor: str) -> str:
    """A person's name without the way by which they acted (`slack:ann`)."""
    return actor.rpartition(":")[2].casefold()
