"""Label sets are values; batches keep their shape."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.series import LabelSet, SeriesBatch

names = st.from_regex(r"[a-zA-Z_][a-zA-Z0-9_]{0,8}", fullmatch=True)
label_maps = st.dictionaries(names, st.text(max_size=8), max_size=6)


@given(label_maps)
def test_order_and_empty_values_do_not_matter(labels: dict[str, str]) -> None:
    one = LabelSet(labels)
    two = LabelSet(reversed(list(labels.items())))
    assert one == two
    assert hash(one) == hash(two)
    assert dict(one) == {k: v for k, v in labels.items() if v}


def test_fingerprint_is_alertmanagers() -> None:
    # Fingerprint that Alertmanager 0.25 gives to these labels (GET /api/v2/alerts).
    assert LabelSet({"alertname": "x", "job": "y"}).fingerprint() == "1f62d4349636ae1a"
    assert LabelSet().fingerprint() == "cbf29ce484222325"  # FNV-1a's offset basis


def test_selector_is_promql() -> None:
    labels = LabelSet({"__name__": "up", "job": 'a"b\\c', "x": "1\n2"})
    assert labels.selector() == 'up{job="a\\"b\\\\c",x="1\\n2"}'
    assert LabelSet().selector() == "{}"
    assert LabelSet({"__name__": "up"}).selector() == "up"


def test_without_drops_labels() -> None:
    assert LabelSet({"a": "1", "b": "2"}).without("a", "z") == {"b": "2"}


def test_a_batch_of_the_wrong_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="shape"):
        SeriesBatch("q", (LabelSet(),), np.array([1, 2], dtype=np.int64), np.zeros((1, 3)))
