"""Who may sit in a council, and who does where nothing is said."""

from __future__ import annotations

from typing import Literal

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
