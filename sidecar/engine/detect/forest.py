"""Isolation Forest: windows that few random cuts set apart from the others.

Source: Liu, Ting, Zhou (2008), Isolation Forest. scikit-learn grows the trees; what is kept are
their arrays, walked by compiled code, because its own scoring costs milliseconds a call.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from sidecar.engine.detect.trained import Fitted, need
from sidecar.errors import ModelError
from sidecar.series import FloatArray

TREES, SAMPLES = 64, 256


@njit(cache=True, nogil=True)
def _depths(roots, feature, threshold, left, right, depth, windows, out):
    for i in range(windows.shape[0]):
        total = 0.0
        for tree in range(len(roots)):
            node = roots[tree]
            while left[node] >= 0:
                node = left[node] if windows[i, feature[node]] <= threshold[node] else right[node]
            total += depth[node]
        out[i] = total / len(roots)


def _usual_depth(n: FloatArray) -> FloatArray:
    """Mean depth of a search tree's unsuccessful search among n (Liu et al., equation 1)."""
    m = np.maximum(n, 2)
    usual = 2.0 * (np.log(m - 1) + np.euler_gamma) - 2.0 * (m - 1) / m
    return np.where(n > 2, usual, np.where(n == 2, 1.0, 0.0))


class ForestModel:
    """The model of the detector `isolation_forest`."""

    trainable = True
    measures = ()

    def fit(self, windows: FloatArray, seed: int) -> Fitted:
        """Grow the trees; see `WindowModel.fit`."""
        from sklearn.ensemble import IsolationForest

        size = min(SAMPLES, len(windows))
        forest = IsolationForest(n_estimators=TREES, max_samples=size, random_state=seed).fit(windows)
        parts: dict[str, list[np.ndarray]] = {
            name: [] for name in ("feature", "threshold", "left", "right", "depth")
        }
        roots, first = [], 0
        for estimator in forest.estimators_:
            tree = estimator.tree_
            inner = tree.children_left >= 0
            depth = np.zeros(tree.node_count)
            nodes = np.zeros(1, dtype=np.int64)
            while len(nodes):
                parents = nodes[inner[nodes]]
                nodes = np.concatenate([tree.children_left[parents], tree.children_right[parents]])
                depth[nodes] = np.tile(depth[parents], 2) + 1.0
            parts["feature"].append(np.maximum(tree.feature, 0))
            parts["threshold"].append(tree.threshold)
            parts["left"].append(np.where(inner, tree.children_left + first, -1))
            parts["right"].append(np.where(inner, tree.children_right + first, -1))
            parts["depth"].append(depth + _usual_depth(tree.n_node_samples.astype(np.float64)))
            roots.append(first)
            first += tree.node_count
        arrays = {name: np.concatenate(pieces) for name, pieces in parts.items()}
        return arrays | {"roots": np.array(roots), "usual": _usual_depth(np.array([float(size)]))}

    def check(self, fitted: Fitted, n_features: int) -> None:
        """Whether every way through the trees stays inside of them; see `WindowModel.check`."""
        need(fitted, usual=(1, 1), roots=(1, None), feature=(1, None))
        n_nodes = len(fitted["feature"])
        need(fitted, threshold=(1, n_nodes), left=(1, n_nodes), right=(1, n_nodes), depth=(1, n_nodes))
        own = np.arange(n_nodes)
        inner = fitted["left"] >= 0
        children = np.stack([fitted["left"], fitted["right"]])[:, inner]
        # A child lies behind its parent, so no way goes round for ever.
        inside = ((children > own[inner]) & (children < n_nodes)).all()
        inside &= ((fitted["roots"] >= 0) & (fitted["roots"] < n_nodes)).all()
        if not inside or not ((fitted["feature"] >= 0) & (fitted["feature"] < n_features)).all():
            raise ModelError("state's trees are damaged")

    def score(self, fitted: Fitted, windows: FloatArray) -> FloatArray:
        """2 to the power of minus the mean depth, in usual ones: 0.5 is usual, 1 is alone."""
        found = np.empty(len(windows))
        names = ("roots", "feature", "threshold", "left", "right", "depth")
        _depths(*(fitted[name] for name in names), np.ascontiguousarray(windows), found)
        return np.asarray(2.0 ** (-found / fitted["usual"][0]))
