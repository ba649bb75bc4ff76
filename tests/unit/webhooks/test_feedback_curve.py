"""What people say makes the judgement of noise better, week after week, and hides no page."""

from __future__ import annotations

from pathlib import Path

from tools.feedback_curve import judged, tables
from tools.made_alerts import made, write

WEEKS = 3


def test_feedback_helps_in_each_week_after_the_first_and_loses_no_page(tmp_path: Path) -> None:
    runs = judged([write(made(WEEKS), tmp_path)], n_parts=WEEKS)
    plain, taught = runs[False], runs[True]
    assert plain[0].f1 == taught[0].f1, "nobody has said anything yet"
    for before, after in zip(plain[1:], taught[1:], strict=True):
        assert after.f1 > before.f1
        assert after.n_told_noise < before.n_told_noise
    assert sum(part.pages_lost for part in (*plain, *taught)) == 0
    assert sum(part.n_told - part.n_told_noise for part in taught) > 0
    assert len(list(tables(runs))) == 2 + WEEKS + 1 + 2 + 5


def test_the_same_seed_makes_the_same_stream() -> None:
    assert made(1, seed=3).deliveries == made(1, seed=3).deliveries
    assert made(1, seed=3).truth != made(1, seed=4).truth
