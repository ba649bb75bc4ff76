"""Names of the detectors that a query may choose from; written by tools/registry_names.py."""

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
    "multivariate",
    "autoencoder",
    "matrix_profile",
    "isolation_forest",
    "kmeans",
    "gaussian_mixture",
    "dbscan",
    "spectral_clusters",
    "council",
]
