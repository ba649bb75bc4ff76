"""How many cores the libraries of linear algebra take: one, unless the environment says otherwise."""

from __future__ import annotations

import os

VARIABLES = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def one_core_for_algebra() -> None:
    """To be called before numpy is imported, which is when its libraries read their environment.

    Our matrices are small: more threads only wait for each other, at the full cost of a core each.
    Choosing a forecast took twice the CPU time with two, and longer on a busy machine.
    """
    for name in VARIABLES:
        os.environ.setdefault(name, "1")
