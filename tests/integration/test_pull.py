"""Pulling from a real Prometheus: every API, both ways of reading history, TLS and passwords."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from sidecar.cli.main import main
from sidecar.config.http import BasicAuth, HttpConfig, TlsConfig
from sidecar.config.model import SourceConfig
from sidecar.errors import PullError, TooManySeries
from sidecar.prometheus.client import PrometheusClient
from sidecar.prometheus.explore import range_frame
from sidecar.prometheus.session import PullMetrics
from sidecar.series import LabelSet
from tests.integration.servers import Prometheus, run_blocking, stopping, wait_until

pytestmark = pytest.mark.integration

STEP = 60
END = int(time.time()) // 7200 * 7200 - 7200
START = END - 9 * 86400  # More than 11,000 minutes.
N_SERIES = 5


def history() -> tuple[np.ndarray, np.ndarray, str]:
    """Times (s), values (N, T), OpenMetrics text: gaps, a death, a birth, a reset, awkward numbers."""
    times = np.arange(START, END, STEP)
    rng = np.random.default_rng(5)
    values = rng.normal(0, 1, (N_SERIES, len(times))) * 10.0 ** rng.integers(-12, 12, (N_SERIES, 1))
    values[0] = np.cumsum(rng.integers(0, 9, len(times)))
    values[0, 5000:] -= values[0, 5000]  # A counter's reset.
    values[1, 300:330] = np.nan  # A gap longer than the lookback.
    values[1, 400] = np.nan  # And a shorter one.
    values[2, 6000:] = np.nan  # Dies.
    values[3, :9000] = np.nan  # Is born.
    lines = ["# TYPE bench gauge"]
    for row in range(N_SERIES):
        for moment, value in zip(times.tolist(), values[row].tolist(), strict=True):
            if value == value:
                lines.append(f'bench{{row="{row}",text="ü\\"x"}} {value!r} {moment}')
    return times, values, "\n".join([*lines, "# EOF\n"])


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    directory = tmp_path_factory.mktemp("prometheus")
    server = Prometheus(directory)
    document = json.loads(server.config.read_text())
    document["global"]["external_labels"] = {"replica": "a"}
    document["scrape_configs"] = [
        {"job_name": "self", "static_configs": [{"targets": [server.url.removeprefix("http://")]}]}
    ]
    server.config.write_text(json.dumps(document))
    (server.rules / "r.yaml").write_text(
        json.dumps({"groups": [{"name": "g", "rules": [
            {"record": "a:b", "expr": "vector(1)"},
            {"alert": "Off", "expr": "vector(0) > 1", "for": "2m", "labels": {"severity": "page"}},
        ]}]})
    )  # fmt: skip
    server.backfill(history()[2])
    with ExitStack() as stack:
        stack.enter_context(stopping(server))
        server.start()
        wait_until(lambda: server.query("up"), what="Prometheus scrapes itself")
        yield server


def opened(server: Prometheus, **settings: Any) -> PrometheusClient:
    config = SourceConfig(url=server.url, retries=0, **settings)
    return PrometheusClient(config, metrics=PullMetrics(CollectorRegistry()))


def as_queries_see(times: np.ndarray, values: np.ndarray) -> np.ndarray:
    """What an instant query sees at each time: the last sample of the five minutes before."""
    seen = values.copy()
    for column in range(len(times)):
        for back in range(1, 6):
            if column - back < 0:
                break
            missing = np.isnan(seen[:, column])
            seen[missing, column] = values[missing, column - back]
    return seen


async def test_a_range_beyond_eleven_thousand_steps_by_both_ways_is_bit_equal(filled: Prometheus) -> None:
    times, values, _ = history()
    asked = {"start_ms": START * 1000, "end_ms": (END - STEP) * 1000, "step_ms": STEP * 1000}
    async with opened(filled) as client:
        by_json = await client.range("bench", name="q", max_series=10, **asked)
        by_read = await client.history("bench", name="q", max_series=10, **asked)
        assert client._remote_read, "remote read did not fail"
        assert client._terms is not None, "and the server offered it"
    assert by_json.n_steps == len(times) > 11_000
    assert set(by_read.labels) == set(by_json.labels), "external labels are not the series' own"
    order = [by_read.labels.index(labels) for labels in by_json.labels]
    np.testing.assert_array_equal(by_read.values[order], by_json.values)
    truth = as_queries_see(times, values)
    rows = [int(labels["row"]) for labels in by_json.labels]
    np.testing.assert_array_equal(by_json.values, truth[rows])
    assert by_json.labels[0]["text"] == 'ü"x'


async def test_a_server_with_narrow_limits_gives_its_history_in_parts(tmp_path: Path) -> None:
    at = range(START, START + 86400, STEP)
    lines = [f'bench{{row="{row}"}} {row + n} {moment}' for row in range(20) for n, moment in enumerate(at)]
    server = Prometheus(tmp_path, flags=["--query.max-samples=12000"])
    server.backfill("\n".join(["# TYPE bench gauge", *lines, "# EOF\n"]))
    asked = CollectorRegistry()
    with stopping(server):
        server.start()
        config = SourceConfig(url=server.url, retries=0, remote_read="off")
        async with PrometheusClient(config, metrics=PullMetrics(asked)) as client:
            found = await client.history(
                "sort(avg_over_time(bench[10m]) * 0 + bench)",
                start_ms=START * 1000,
                end_ms=at[-1] * 1000,
                step_ms=STEP * 1000,
                name="q",
                max_series=100,
            )
    assert sorted(values.tolist() for values in found.values) == [
        [float(row + n) for n in range(len(at))] for row in range(20)
    ]
    refused = asked.get_sample_value("pronoia_pull_errors_total", {"reason": "bad_query"})
    assert refused is not None
    assert refused >= 1, "it did find the whole too much"


@pytest.mark.parametrize("step_seconds", [15, 45, 600])
async def test_other_grids_agree_too(filled: Prometheus, step_seconds: int) -> None:
    asked = {
        "start_ms": (START + 250 * 60 + 7) * 1000,
        "end_ms": (START + 500 * 60) * 1000,
        "step_ms": step_seconds * 1000,
    }
    async with opened(filled) as client:
        by_json = await client.range('bench{row=~"0|1"}', name="q", max_series=10, **asked)
        by_read = await client.history('bench{row=~"0|1"}', name="q", max_series=10, **asked)
    assert (by_json.timestamps % (step_seconds * 1000) == 0).all()
    order = [by_read.labels.index(labels) for labels in by_json.labels]
    np.testing.assert_array_equal(by_read.values[order], by_json.values)


async def test_overlapping_evaluations_agree(filled: Prometheus) -> None:
    async with opened(filled) as client:
        pulls = [
            await client.range(
                "rate(bench[5m])", start_ms=start * 1000, end_ms=(START + 86400) * 1000, step_ms=60_000,
                name="q", max_series=10,
            )
            for start in (START + 3600, START + 3617)
        ]  # fmt: skip
    longer, shorter = pulls
    assert shorter.timestamps[0] == longer.timestamps[1]
    np.testing.assert_array_equal(longer.values[:, 1:], shorter.values)


async def test_rates_over_a_counter_reset_are_not_negative(filled: Prometheus) -> None:
    async with opened(filled) as client:
        batch = await client.range(
            'rate(bench{row="0"}[5m])',
            start_ms=(START + 4980 * 60) * 1000,
            end_ms=(START + 5020 * 60) * 1000,
            step_ms=60_000,
            name="q",
            max_series=10,
        )
    assert np.nanmin(batch.values) >= 0
    assert np.nanmax(batch.values) < 1


async def test_instants_scalars_infinities_and_nan(filled: Prometheus) -> None:
    at = {"at_ms": (START + 600) * 1000, "name": "q", "max_series": 10}
    registry = CollectorRegistry()
    config = SourceConfig(url=filled.url, retries=0)
    async with PrometheusClient(config, metrics=PullMetrics(registry)) as client:
        assert (await client.instant("vector(1.5)", **at)).values.tolist() == [[1.5]]
        assert (await client.instant("7", **at)).labels == (LabelSet(),)
        assert np.isnan((await client.instant("vector(1)/0", **at)).values).all()
        assert registry.get_sample_value("pronoia_pull_dropped_samples_total", {"kind": "infinite"}) == 1
        assert np.isnan((await client.instant("vector(0)/0", **at)).values).all()
        assert (await client.instant("nothing_here", **at)).n_series == 0
        with pytest.raises(PullError, match="parse error"):
            await client.instant("sum(", **at)
        with pytest.raises(TooManySeries, match=r"'q' matched 4 series, its limit is 2"):
            await client.instant("bench", at_ms=at["at_ms"], name="q", max_series=2)
        with pytest.raises(TooManySeries):
            await client.history("bench", start_ms=START * 1000, end_ms=END * 1000, step_ms=60_000,
                                 name="q", max_series=2)  # fmt: skip


async def test_the_other_apis(filled: Prometheus) -> None:
    async with opened(filled) as client:
        assert (await client.build_info()).version.startswith("2.")
        rules = await client.rules()
        assert [(rule.name, rule.kind, rule.group) for rule in rules] == [
            ("a:b", "recording", "g"),
            ("Off", "alerting", "g"),
        ]
        assert rules[1].duration_seconds == 120
        assert rules[1].labels == {"severity": "page"}
        (target,) = await client.targets()
        assert target.labels["job"] == "self"
        assert target.scrape_interval == "1s"
        metadata = {entry.name: entry for entry in await client.metadata()}
        assert metadata["prometheus_http_requests_total"].type == "counter"
        found = await client.series(["bench"], start_ms=START * 1000, end_ms=END * 1000)
        assert len(found) == N_SERIES
        assert "bench" in await client.label_values("__name__")
        await client.reload()


async def test_a_refused_reload_says_why(filled: Prometheus) -> None:
    broken = filled.rules / "broken.yaml"
    broken.write_text("groups: [{name: x, rules: [{record: 'a', expr: '('}]}]")
    try:
        async with opened(filled) as client:
            with pytest.raises(PullError, match="500"):
                await client.reload()
    finally:
        broken.unlink()


def explored(server: Prometheus, expr: str, *options: str, end: int = START + 600) -> Result:
    where = ("--prometheus", server.url, "--start", str(START), "--end", str(end), "--step", "60s")
    return CliRunner().invoke(main, ["explore", "--query", expr, *where, *options], catch_exceptions=False)


def test_exploring_tells_of_each_series_and_writes_csv(filled: Prometheus, tmp_path: Path) -> None:
    out = tmp_path / "bench.csv"
    done = explored(
        filled, 'max by (__name__, row) (bench{row=~"0|1"})', "--format", "json", "--out", str(out)
    )
    values = history()[1][:2, :11]
    found = json.loads(done.stdout)
    assert [one["series"] for one in found] == ['bench{row="0"}', 'bench{row="1"}']
    assert [one["there"] for one in found] == [1.0, 1.0]
    assert [(one["min"], one["last"]) for one in found] == [(row.min(), row[-1]) for row in values]
    head, first, *others = out.read_text().splitlines()
    assert head == "timestamp,__name__,row,value"
    assert first.startswith(datetime.fromtimestamp(START, UTC).strftime("%Y-%m-%dT%H:%M:%SZ,bench,0,"))
    assert len(others) == 21
    assert explored(filled, "sum(bench)").stdout.splitlines()[1].split()[:2] == ["{}", "100%"]


@pytest.mark.parametrize(
    ("expr", "options", "words"),
    [
        pytest.param("none_such", (), "matched no series from", id="nothing"),
        pytest.param("sum by (", (), "parse error", id="no query"),
        pytest.param("bench", ("--max-series", "2"), "its limit is 2", id="too many"),
    ],
)
def test_exploring_says_why_there_is_nothing_to_see(
    filled: Prometheus, expr: str, options: tuple[str, ...], words: str
) -> None:
    done = explored(filled, expr, *options)
    assert done.exit_code == 1
    assert words in done.output


async def test_tls_and_passwords(tmp_path: Path, keep: Callable[..., Any]) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    request = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
    names = "subjectAltName=DNS:localhost,IP:127.0.0.1"
    subprocess.run(
        [
            *("openssl", *request.split(), "-keyout", str(key), "-out", str(certificate), "-addext", names),
            *("-addext", "keyUsage=critical,digitalSignature,keyCertSign"),  # Python 3.13 asks for it.
        ],
        check=True,
        capture_output=True,
    )
    web = tmp_path / "web.yml"
    # bcrypt of "sesame", cost 4, so that the test is quick.
    digest = "$2b$04$l82V57ffgAgoH9Z1SUodKOZ7aaZzImw1BDZ0WWdO5ufQEikvVmT6O"
    web.write_text(
        json.dumps(
            {
                "tls_server_config": {"cert_file": str(certificate), "key_file": str(key)},
                "basic_auth_users": {"ann": digest},
            }
        )
    )
    server: Prometheus = keep(Prometheus(tmp_path / "prometheus", flags=[f"--web.config.file={web}"]))
    server.start(wait=False)
    url = server.url.replace("http://", "https://")
    tls = TlsConfig(ca_file=certificate)

    async def version(http_config: HttpConfig) -> str:
        config = SourceConfig(url=url, retries=5, breaker_failures=99, http=http_config)
        async with PrometheusClient(config, metrics=PullMetrics(CollectorRegistry())) as client:
            return (await client.build_info()).version

    ann = BasicAuth(username="ann", password=SecretStr("sesame"))
    assert (await version(HttpConfig(tls=tls, basic_auth=ann))).startswith("2.")
    with pytest.raises(PullError) as caught:
        await version(HttpConfig(tls=tls))
    assert caught.value.reason == "unauthorized"
    with pytest.raises(PullError, match="certificate"):
        await version(HttpConfig(basic_auth=ann))

    def looked_at(http_config: HttpConfig) -> int:
        config = SourceConfig(url=url, http=http_config)
        minute = {"start_seconds": time.time() - 60, "end_seconds": time.time(), "step_seconds": 60}
        return len(range_frame(config, "vector(1)", **minute, max_series=1))

    assert await run_blocking(lambda: looked_at(HttpConfig(tls=tls, basic_auth=ann))) == 2
    with pytest.raises(PullError, match="SSLError"):
        await run_blocking(lambda: looked_at(HttpConfig(basic_auth=ann)))
