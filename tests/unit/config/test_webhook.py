"""The alerts loop's section names what is wrong in it."""

from __future__ import annotations

import pytest

from sidecar.config.webhook import FoldConfig


def test_a_fold_that_is_no_pattern_is_refused() -> None:
    with pytest.raises(ValueError, match="no regular expression"):
        FoldConfig(label="pod", pattern="(")
