"""Prometheus down, slow, emptied; our clock wrong: pronoia degrades, says so, and recovers."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import wave_config
from tests.integration.servers import Prometheus, Pronoia, free_port, http, wait_until

pytestmark = pytest.mark.integration


def metric(pronoia: Pronoia, name: str, **labels: str) -> float:
    """The value of one self-metric, summed over the children that carry the labels; 0 if absent."""
    text = http(pronoia.url + "/metrics")[1].decode()
    total = 0.0
    for line in text.splitlines():
        match = re.fullmatch(rf"{name}(?:\{{(.*)\}})? (\S+)", line)
        if match and all(f'{key}="{value}"' in (match[1] or "") for key, value in labels.items()):
            total += float(match[2])
    return total


def scored(pronoia: Pronoia) -> float:
    return metric(pronoia, "pronoia_evaluations_total", result="ok")


def ready(pronoia: Pronoia) -> bool:
    return http(pronoia.url + "/-/ready")[0] == 200


class DelayingProxy:
    """A TCP proxy on loopback that holds each answer back for `delay` seconds."""

    def __init__(self, target_port: int) -> None:
        self.delay = 0.0
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._target = target_port
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            upstream = socket.create_connection(("127.0.0.1", self._target))
            for source, sink, slow in ((client, upstream, False), (upstream, client, True)):
                threading.Thread(target=self._pump, args=(source, sink, slow), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, slow: bool) -> None:
        try:
            while data := source.recv(65536):
                if slow:
                    time.sleep(self.delay)
                sink.sendall(data)
        except OSError:
            pass
        finally:
            for end in (source, sink):
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
                end.close()

    def close(self) -> None:
        self._listener.close()


def test_prometheus_down_at_start_and_later(
    tmp_path: Path, keep: Callable[..., Any], make_pronoia: Callable[..., Pronoia]
) -> None:
    prometheus: Prometheus = keep(Prometheus(tmp_path / "prometheus"))
    pronoia = make_pronoia(wave_config(prometheus.url, tmp_path))
    pronoia.start()
    wait_until(
        lambda: metric(pronoia, "pronoia_evaluations_total", result="error") > 0,
        what="the failure is counted",
    )
    status, body = http(pronoia.url + "/-/ready")
    assert status == 503
    assert body

    prometheus.start()
    wait_until(lambda: ready(pronoia), timeout=40, what="ready once Prometheus is up")

    prometheus.kill()
    errors = metric(pronoia, "pronoia_evaluations_total", result="error")
    wait_until(
        lambda: metric(pronoia, "pronoia_evaluations_total", result="error") > errors,
        what="the later failure is counted",
    )
    assert http(pronoia.url + "/-/healthy")[0] == 200

    prometheus.start()
    before = scored(pronoia)
    wait_until(lambda: scored(pronoia) > before, timeout=40, what="scores go on")
    newest = metric(pronoia, "pronoia_query_last_evaluation_timestamp_seconds")
    assert time.time() - newest < 10


def test_prometheus_slow(
    tmp_path: Path, prometheus: Prometheus, make_pronoia: Callable[..., Pronoia]
) -> None:
    proxy = DelayingProxy(prometheus.port)
    try:
        pronoia = make_pronoia(wave_config(proxy.url, tmp_path))
        pronoia.start()
        wait_until(lambda: ready(pronoia), timeout=40, what="ready through the proxy")
        proxy.delay = 5.0
        wait_until(
            lambda: metric(pronoia, "pronoia_pull_errors_total", reason="timeout") > 0,
            what="timeouts counted",
        )
        began = time.monotonic()
        assert http(pronoia.url + "/-/healthy")[0] == 200
        assert time.monotonic() - began < 1.0, "a slow source must not slow our own server"
        proxy.delay = 0.0
        before = scored(pronoia)
        wait_until(lambda: scored(pronoia) > before, timeout=40, what="scores go on")
    finally:
        proxy.close()


def test_prometheus_restarted_with_an_empty_tsdb(
    tmp_path: Path, keep: Callable[..., Any], make_pronoia: Callable[..., Pronoia]
) -> None:
    prometheus: Prometheus = keep(Prometheus(tmp_path / "prometheus"))
    target = prometheus.url.removeprefix("http://")
    document = prometheus.config.read_text().replace(
        '"scrape_configs": []',
        f'"scrape_configs": [{{"job_name": "self", "static_configs": [{{"targets": ["{target}"]}}]}}]',
    )
    prometheus.config.write_text(document)
    prometheus.start()
    wait_until(lambda: prometheus.query("up"), what="Prometheus scrapes itself")
    config = wave_config(prometheus.url, tmp_path)
    config["queries"][0]["expr"] = "up"
    pronoia = make_pronoia(config)
    pronoia.start()
    wait_until(lambda: scored(pronoia) > 3, timeout=40, what="scored")

    prometheus.kill()
    shutil.rmtree(prometheus.data)
    prometheus.data.mkdir()
    prometheus.start()
    before = scored(pronoia)
    wait_until(lambda: scored(pronoia) > before + 3, timeout=40, what="scores go on after the loss")
    wait_until(lambda: metric(pronoia, "pronoia_query_series") == 1, what="the series is back")
    page = http(pronoia.url + "/synthetic")[1].decode()
    assert page.count("pronoia_actual{") == 1, "one series, neither lost nor doubled"


BENT_CLOCK = """
import pathlib, runpy, sys, time

true, bend = time.time, pathlib.Path(sys.argv.pop(1))
time.time = lambda: true() + float(bend.read_text())  # Each of our clocks is this one.
runpy.run_module("sidecar", run_name="__main__", alter_sys=True)
"""


def test_our_clock_goes_back_five_minutes(
    tmp_path: Path, prometheus: Prometheus, make_pronoia: Callable[..., Pronoia]
) -> None:
    bend = tmp_path / "seconds"
    bend.write_text("0")
    pronoia = make_pronoia(wave_config(prometheus.url, tmp_path))
    assert pronoia.argv[1:3] == ["-m", "sidecar"]
    pronoia.argv[1:3] = ["-c", BENT_CLOCK, str(bend)]
    pronoia.start()
    wait_until(lambda: scored(pronoia) > 3, timeout=40, what="scored")
    temporary = tmp_path / "seconds.new"
    temporary.write_text("-300")
    os.replace(temporary, bend)
    before = scored(pronoia)
    wait_until(lambda: metric(pronoia, "pronoia_clock_skew_seconds") > 290, what="the skew is seen and told")
    wait_until(
        lambda: scored(pronoia) > before + 5, timeout=30, what="scores go on within seconds, not minutes"
    )
    newest = metric(pronoia, "pronoia_query_last_evaluation_timestamp_seconds")
    assert abs(time.time() - newest) < 10, "and are those of now"
