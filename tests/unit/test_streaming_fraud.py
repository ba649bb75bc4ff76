"""The example of odd accounts: its simulation is judged as told, and its configuration is one."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import yaml

from sidecar.config.model import Config
from tools.streaming_fraud import Found, flagged_days, judge, simulate

PAGE = Path(__file__).parents[2] / "docs" / "streaming-fraud.md"


def test_the_group_finds_most_of_it_at_a_bearable_price() -> None:
    accounts = simulate(60, base_rate=0.04, unusual_rate=0.0, seed=2)
    found = judge(accounts, flagged_days(accounts, "multivariate", 0.25))
    assert found.recall >= 0.6
    assert found.by_kind["shared"] >= 0.9
    assert found.false_alarm_rate <= 0.08, "four series with a budget of 0.25 a month are 3.3 % of the days"


def test_precision_depends_on_how_much_fraud_there_is() -> None:
    found = Found(precision=0.5, recall=0.8, false_alarm_rate=0.04, by_kind={})
    assert found.precision_at(0.5) == pytest.approx(0.4 / 0.42)
    assert found.precision_at(0.001) < 0.02


def test_the_same_seed_simulates_the_same() -> None:
    one, two = (simulate(5, 0.1, 0.1, seed=3) for _ in range(2))
    np.testing.assert_array_equal(one.values, two.values)
    assert one.kind == two.kind


def test_the_page_s_configuration_is_one() -> None:
    (text,) = re.findall(r"```yaml\n(.+?)```", PAGE.read_text(), re.DOTALL)
    (query,) = Config.model_validate(yaml.safe_load(text)).queries
    assert query.group_by == ("account",)
