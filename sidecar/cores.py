"""How many cores numeric libraries take: one, unless the environment says otherwise."""

from __future__ import annotations

import os

VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def one_core_for_algebra() -> None:
    """To be called before numpy is imported, which is when its libraries read their environment.

    Our matrices are small: more threads only wait for each other, at the full cost of a core each.
    Choosing a forecast took twice the CPU time with two, and longer on a busy machine; families of
    four hundred series (scikit-learn's k-means, by OpenMP) took ten times as much.
    """
    for name in VARIABLES:
        os.environ.setdefault(name, "1")
