"""What a query will cost is told from its own detector and council."""

from __future__ import annotations

from sidecar.cli.explain_cost import model_cost
from sidecar.config.model import QueryConfig
from sidecar.engine.registry import make_detector


def _query(**keys: object) -> QueryConfig:
    return QueryConfig.model_validate({"name": "q", "expr": "up", "forecast_horizons": [], **keys})


def test_a_council_costs_its_members_memory_and_time_beside_the_step() -> None:
    alone = model_cost(_query())
    council = model_cost(_query(detector="council", council=["matrix_profile", "multivariate"]))
    assert alone.seconds_a_point > 0
    assert alone.seconds_a_point_beside == alone.seconds_a_fit == 0
    assert council.seconds_a_point == alone.seconds_a_point, "the core is the same, and measured once"
    assert council.seconds_a_point_beside > 0
    assert council.seconds_a_fit > 0, "that of the group's factors"
    kept = [make_detector(name, _query()) for name in ("matrix_profile", "multivariate")]
    for member in kept:
        member.resize(1000)
        member.calibrator.resize(1000)
    arrays = [a for member in kept for part in (member, member.calibrator) for a in part.state().values()]
    of_members = sum(array.nbytes for array in arrays if len(array) == 1000) // 1000
    assert council.bytes_a_series - alone.bytes_a_series >= of_members


def test_what_a_fit_learns_from_is_kept_once_whatever_the_number_of_series() -> None:
    trained, plain = model_cost(_query(detector="isolation_forest")), model_cost(_query())
    assert trained.bytes_shared > 90_000
    assert trained.bytes_a_series < plain.bytes_a_series
    assert plain.bytes_shared < 1_000
