"""Four ways to see groups among windows, each with its measure of how far a window is from all of them.

What is learnt of each is small: centres, or the members of the dense parts. `quality` is
(silhouette, Davies-Bouldin, number of groups) of the groups found.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from sidecar.engine.detect.trained import Fitted, need
from sidecar.series import FloatArray, RowArray

MOST_GROUPS = 6
SAMPLE = 512
"""So many windows are enough to judge a clustering by, and to make the slow ones from."""

NEIGHBOURS = 5
MEASURES: tuple[str, ...] = ("silhouette", "davies_bouldin", "groups")


def sample_of(windows: FloatArray, seed: int, size: int = SAMPLE) -> FloatArray:
    """At most so many of the windows, drawn by the seed."""
    if len(windows) <= size:
        return windows
    chosen = np.random.default_rng(seed).choice(len(windows), size, replace=False)
    return windows[np.sort(chosen)]


def quality(windows: FloatArray, groups: RowArray) -> FloatArray:
    """Silhouette (-1 to 1, high is good), Davies-Bouldin (low is good), number of groups.

    Source: Rousseeuw (1987), Silhouettes; Davies, Bouldin (1979), A cluster separation measure.
    """
    from sklearn.metrics import davies_bouldin_score, silhouette_score

    inside = groups >= 0
    n_groups = len(np.unique(groups[inside]))
    if n_groups < 2 or n_groups >= inside.sum():
        return np.array([0.0, np.inf, float(n_groups)])
    kept = windows[inside], groups[inside]
    return np.array([silhouette_score(*kept), davies_bouldin_score(*kept), float(n_groups)])


def distances(windows: FloatArray, centres: FloatArray) -> FloatArray:
    """Euclidean distance of each window from each centre, (n, n_centres)."""
    found = np.empty((len(windows), len(centres)))
    _distances(np.ascontiguousarray(windows), np.ascontiguousarray(centres), found)
    return found


@njit(cache=True, nogil=True)
def _distances(windows, centres, found):
    # Not by matrix products: their last digits depend on how many windows are asked about at once.
    for i in range(windows.shape[0]):
        for k in range(centres.shape[0]):
            square = 0.0
            for f in range(windows.shape[1]):
                off = windows[i, f] - centres[k, f]
                square += off * off
            found[i, k] = np.sqrt(square)


def nearest(windows: FloatArray, members: FloatArray, n_nearest: int) -> tuple[FloatArray, RowArray]:
    """Mean distance of each window from its nearest members, (n,), and which one is the nearest."""
    away, member = np.empty(len(windows)), np.empty(len(windows), dtype=np.int64)
    n_nearest = min(n_nearest, len(members))
    _nearest(np.ascontiguousarray(windows), np.ascontiguousarray(members), n_nearest, away, member)
    return away, member


@njit(cache=True, nogil=True)
def _nearest(windows, members, n_nearest, away, member):
    squares = np.empty(n_nearest)
    for i in range(windows.shape[0]):
        squares[:] = np.inf
        for k in range(members.shape[0]):
            square = 0.0
            for f in range(windows.shape[1]):
                off = windows[i, f] - members[k, f]
                square += off * off
            if square < squares[n_nearest - 1]:
                if square < squares[0]:
                    member[i] = k
                at = n_nearest - 1
                while at > 0 and squares[at - 1] > square:
                    squares[at] = squares[at - 1]
                    at -= 1
                squares[at] = square
        away[i] = np.sqrt(squares).mean()


class KMeansModel:
    """Mini-batch k-means; the number of groups by silhouette. Distance from the nearest centre, in its radii.

    Source: Sculley (2010), Web-scale k-means clustering.
    """

    trainable = True
    measures = MEASURES

    def fit(self, windows: FloatArray, seed: int) -> Fitted:
        """Find centres; see `WindowModel.fit`."""
        from sklearn.cluster import MiniBatchKMeans

        judged = sample_of(windows, seed)
        best: Fitted = {}
        for n_groups in range(2, min(MOST_GROUPS, len(judged) - 1) + 1):
            model = MiniBatchKMeans(n_groups, random_state=seed, n_init=2, batch_size=512).fit(windows)
            found = quality(judged, model.predict(judged))
            if not best or found[0] > best["quality"][0]:
                away = distances(windows, model.cluster_centers_).min(axis=1)
                groups = model.labels_
                radius = np.array(
                    [away[groups == k].mean() if (groups == k).any() else 0.0 for k in range(n_groups)]
                )
                best = {
                    "centres": model.cluster_centers_,
                    "radius": np.maximum(radius, away.mean()),
                    "quality": found,
                }
        return best

    def check(self, fitted: Fitted, n_features: int) -> None:
        """Whether the arrays are those of this model; see `WindowModel.check`."""
        need(fitted, centres=(2, n_features), radius=(1, None))

    def score(self, fitted: Fitted, windows: FloatArray) -> FloatArray:
        """Distance from the nearest centre in its radii."""
        return np.asarray((distances(windows, fitted["centres"]) / fitted["radius"]).min(axis=1))


class MixtureModel:
    """A mixture of Gaussians, their number by BIC. How unlikely a window is: minus the log of its density.

    Source: Dempster, Laird, Rubin (1977), Maximum likelihood from incomplete data via the EM algorithm.
    """

    trainable = True
    measures = MEASURES

    def fit(self, windows: FloatArray, seed: int) -> Fitted:
        """Fit the mixture; see `WindowModel.fit`."""
        from sklearn.mixture import GaussianMixture

        judged = sample_of(windows, seed, 2 * SAMPLE)
        models = [
            GaussianMixture(n, random_state=seed, reg_covar=0.05, max_iter=50).fit(judged)
            for n in range(1, min(4, len(judged) // 12) + 1)
        ]
        best = min(models, key=lambda model: model.bic(judged))
        return {
            "means": best.means_,
            "factors": best.precisions_cholesky_,
            "weights": best.weights_,
            "quality": quality(judged, best.predict(judged)),
        }

    def check(self, fitted: Fitted, n_features: int) -> None:
        """Whether the arrays are those of this model; see `WindowModel.check`."""
        need(fitted, means=(2, n_features), factors=(3, n_features), weights=(1, None))

    def score(self, fitted: Fitted, windows: FloatArray) -> FloatArray:
        """Square root of twice minus the log density, from its peak on."""
        terms = []
        for mean, factor, weight in zip(fitted["means"], fitted["factors"], fitted["weights"], strict=True):
            off = ((windows - mean)[:, :, None] * factor).sum(axis=1)
            terms.append(np.log(weight) + np.log(np.diag(factor)).sum() - 0.5 * (off**2).sum(axis=1))
        peak = max(
            np.log(weight) + np.log(np.diag(factor)).sum()
            for factor, weight in zip(fitted["factors"], fitted["weights"], strict=True)
        )
        likely = np.logaddexp.reduce(np.stack(terms), axis=0) - peak
        return np.asarray(np.sqrt(np.maximum(-2.0 * likely, 0.0)))


class DensityModel:
    """DBSCAN: distance from the dense parts, in the radius that makes a part dense.

    The radius is that in which nine tenths of the windows have `NEIGHBOURS` others. Source: Ester,
    Kriegel, Sander, Xu (1996), A density-based algorithm for discovering clusters.
    """

    trainable = True
    measures = MEASURES

    def fit(self, windows: FloatArray, seed: int) -> Fitted:
        """Find the dense parts; see `WindowModel.fit`."""
        from sklearn.cluster import DBSCAN

        judged = sample_of(windows, seed)
        near = np.sort(distances(judged, judged), axis=1)[:, min(NEIGHBOURS, len(judged) - 1)]
        radius = max(float(np.quantile(near, 0.9)), 1e-6)
        model = DBSCAN(eps=radius, min_samples=NEIGHBOURS).fit(judged)
        return {
            "members": judged[model.core_sample_indices_] if len(model.core_sample_indices_) else judged,
            "radius": np.array([radius]),
            "quality": quality(judged, model.labels_),
        }

    def check(self, fitted: Fitted, n_features: int) -> None:
        """Whether the arrays are those of this model; see `WindowModel.check`."""
        need(fitted, members=(2, n_features), radius=(1, 1))

    def score(self, fitted: Fitted, windows: FloatArray) -> FloatArray:
        """Distance from the nearest member of a dense part, in radii."""
        away, _ = nearest(windows, fitted["members"], 1)
        return np.asarray(away / fitted["radius"][0])


class SpectralModel:
    """Spectral clustering; distance from the nearest members of the nearest group, in the group's usual one.

    Groups may have any shape, so a window is compared with members and not with a centre. Source:
    Ng, Jordan, Weiss (2001), On spectral clustering; von Luxburg (2007), A tutorial, for the eigengap.
    """

    trainable = True
    measures = MEASURES

    def fit(self, windows: FloatArray, seed: int) -> Fitted:
        """Find the groups; see `WindowModel.fit`."""
        from sklearn.cluster import SpectralClustering

        judged = sample_of(windows, seed, SAMPLE // 2)
        away = distances(judged, judged)
        width = np.maximum(np.sort(away, axis=1)[:, min(7, len(judged) - 1)], 1e-6)
        alike = np.exp(-(away**2) / (width[:, None] * width)) + 1e-6  # All are a little alike: one graph.
        degree = np.sqrt(alike.sum(axis=1))
        eigen = np.linalg.eigvalsh(alike / degree[:, None] / degree)[::-1][: MOST_GROUPS + 1]
        n_groups = int(np.argmax(eigen[1:-1] - eigen[2:])) + 2
        model = SpectralClustering(n_groups, affinity="precomputed", random_state=seed).fit(alike)
        groups = model.labels_
        near = np.sort(away, axis=1)[:, 1 : NEIGHBOURS + 1].mean(axis=1)  # The nearest is the window itself.
        usual = np.array([near[groups == k].mean() if (groups == k).any() else 0.0 for k in range(n_groups)])
        return {
            "members": judged,
            "usual": np.maximum(usual, near.mean())[groups],
            "quality": quality(judged, groups),
        }

    def check(self, fitted: Fitted, n_features: int) -> None:
        """Whether the arrays are those of this model; see `WindowModel.check`."""
        need(fitted, members=(2, n_features))
        need(fitted, usual=(1, len(fitted["members"])))

    def score(self, fitted: Fitted, windows: FloatArray) -> FloatArray:
        """Mean distance from the nearest members, in what is usual in the nearest one's group."""
        away, member = nearest(windows, fitted["members"], NEIGHBOURS)
        return np.asarray(away / fitted["usual"][member])
