"""Linear algebra on one core, unless the environment says otherwise."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

ASK = """
from click.testing import CliRunner
from sidecar.cli.main import main
CliRunner().invoke(main, ["forecast", "--help"])
import numpy, threadpoolctl
import sklearn.cluster
for api in ("blas", "openmp"):
    print(max(lib["num_threads"] for lib in threadpoolctl.threadpool_info() if lib["user_api"] == api))
"""


@pytest.mark.parametrize(
    ("stated", "threads"), [(None, "1"), ("2", "2")], ids=["nothing stated", "the user's word"]
)
def test_a_command_takes_one_core_for_algebra(stated: str | None, threads: str) -> None:
    environment = {k: v for k, v in os.environ.items() if not k.endswith("_NUM_THREADS")}
    if stated is not None:
        environment |= {"OPENBLAS_NUM_THREADS": stated, "OMP_NUM_THREADS": stated}
    said = subprocess.run(
        [sys.executable, "-c", ASK], env=environment, capture_output=True, text=True, check=True
    )
    blas, openmp = said.stdout.split()
    assert (blas, openmp) == (threads if os.cpu_count() != 1 else "1", threads)
