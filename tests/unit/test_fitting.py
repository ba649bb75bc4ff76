"""Fits run in another process, which comes again after it died."""

from __future__ import annotations

import os

import pytest

from sidecar.fitting import NICENESS, FitProcess


def test_it_is_another_process_that_yields_and_comes_again() -> None:
    process = FitProcess()
    process.shutdown()  # Nothing began, nothing ends.
    try:
        first = process.submit(os.getpid).result(60)
        assert first != os.getpid()
        assert process.submit(os.nice, 0).result(60) >= NICENESS
        with pytest.raises(Exception, match="process"):
            process.submit(os._exit, 1).result(60)
        assert process.submit(os.getpid).result(60) != first
    finally:
        process.shutdown()
