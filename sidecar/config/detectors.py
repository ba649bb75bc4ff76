"""Names of the detectors that a query may choose from; docs/detectors/ has a page of each."""

from __future__ import annotations

from typing import Literal

DetectorName = Literal[
    "ensemble",
    "point",
    "windows",
    "slow",
    "shape",
    "seasonal",
    "smoothing",
    "hampel",
    "esd",
    "quantile",
    "cusum",
    "bocpd",
    "spectral_residual",
    "siblings",
    "council",
    "multivariate",
    "autoencoder",
    "matrix_profile",
    "isolation_forest",
    "kmeans",
    "dbscan",
    "gaussian_mixture",
    "spectral_clusters",
]

Member = Literal[
    "matrix_profile",
    "isolation_forest",
    "kmeans",
    "gaussian_mixture",
    "dbscan",
    "spectral_clusters",
    "autoencoder",
    "multivariate",
    "siblings",
    "spectral_residual",
]
"""Who may sit in a council beside the core: what sees something else than the core does."""

USUAL_MEMBERS: tuple[Member, ...] = (
    "matrix_profile",
    "isolation_forest",
    "kmeans",
    "gaussian_mixture",
    "dbscan",
    "spectral_clusters",
)
