"""A configuration is read whole: every fault with its path, or nothing is used."""

from __future__ import annotations

from pathlib import Path

import pytest

from sidecar.config.fields import format_duration, parse_duration
from sidecar.config.load import config_hash, load_file, load_text, read_secret
from sidecar.errors import ConfigError


def problems(text: str, **kwargs: object) -> dict[str, str]:
    with pytest.raises(ConfigError) as caught:
        load_text(text, **kwargs)  # type: ignore[arg-type]
    return {problem.path: problem.message for problem in caught.value.problems}


def test_empty_file_is_the_default_configuration() -> None:
    config = load_text("")
    assert config.server.listen == "0.0.0.0:9469"
    assert config.queries == ()


def test_every_fault_is_listed_at_once_with_its_path() -> None:
    found = problems(
        """
prometheus: {url: localhost:9090, retrys: 3}
queries:
- {name: ok, expr: up}
- {name: "bad name", expr: "sum(up", step: fast}
rules: {margin: 0.5}
"""
    )
    assert set(found) == {
        "prometheus.url",
        "prometheus.retrys",
        "queries[1].name",
        "queries[1].step",
        "queries[1].expr",
        "rules.margin",
    }
    assert "http://host:9090" in found["prometheus.url"]
    assert found["prometheus.retrys"] == "unknown key; did you mean 'retries'?"
    assert "30s, 5m" in found["queries[1].step"]


@pytest.mark.parametrize(
    ("text", "path", "words"),
    [
        pytest.param("- 1\n- 2\n", "(top)", "keys and values", id="a list at the top"),
        pytest.param("a: [1\n", "line 2, column 1", "expected", id="broken yaml says where"),
        pytest.param(
            "queries:\n- name: a\n expr: up\n",
            "line 3, column 2",
            "indented unlike",
            id="a line too far left",
        ),
        pytest.param("log:\n\tlevel: info\n", "line 2, column 1", "indent with spaces", id="a tab"),
        pytest.param(
            "queries:\n- name: a\n    expr: up\n", "line 3, column 9", "indented", id="too far right"
        ),
        pytest.param("log:\n  level: 'info\n", "line 3, column 1", "begin on line 2", id="an open quote"),
        pytest.param(
            "log: {level: info}\nlog: {level: debug}\n", "line 2, column 1", "twice", id="key twice"
        ),
        pytest.param("zzz: 1\n", "zzz", "known here", id="unknown with nothing near"),
        pytest.param('server: {listen: "9469"}', "server.listen", "0.0.0.0:9469", id="no address"),
        pytest.param("slo: [{name: a-b}]", "slo[0].name", "letters, digits", id="no name"),
        pytest.param("teams: [{name: a b}]", "teams[0].name", "letters, digits", id="no team's name"),
        pytest.param("response: {external_url: example.com}", "response.external_url", "http", id="no URL"),
        pytest.param("response: {link_secret: a}", "response.link_secret", "too short", id="weak secret"),
        pytest.param(
            "queries: [{name: a, expr: up}, {name: a, expr: up}]", "queries", "used twice", id="name twice"
        ),
        pytest.param(
            "prometheus: {http: {bearer_token: x, bearer_token_file: y}}",
            "prometheus.http",
            "exclude each other",
            id="two credentials",
        ),
        pytest.param("queries: [{expr: up}]", "queries[0].name", "is required", id="missing key"),
        pytest.param(
            "queries: [{name: a, expr: up, step: 1ms}]", "queries[0].step", "write 1s or more", id="too short"
        ),
        pytest.param(
            "store: {snapshot_interval: 0.5}", "store.snapshot_interval", "0.5s is", id="half of one"
        ),
        pytest.param("behaviour: {step: 20ms}", "behaviour.step", "write 1s or more", id="short, bounded"),
        pytest.param("rules: {interval: 500y}", "rules.interval", "write 100y or less", id="too long"),
        pytest.param("prometheus: {timeout: .inf}", "prometheus.timeout", "finite", id="for ever"),
        pytest.param("prometheus: {timeout: .nan}", "prometheus.timeout", "finite", id="no number"),
        pytest.param(
            "response: {silences: {duration: 2d}}", "response.silences.duration", "at most 1d", id="a bound"
        ),
        pytest.param(
            "prometheus: {max_answer_bytes: 5}",
            "prometheus.max_answer_bytes",
            "at least 1,048,576",
            id="a bound that is no duration",
        ),
        pytest.param("prometheus: {retries: 1.5}", "prometheus.retries", "not a whole number", id="a part"),
        pytest.param("queries: [{name: a, expr: 5}]", "queries[0].expr", "quotes", id="no text"),
        pytest.param("prometheus: {url: }", "prometheus.url", "no value", id="a key alone"),
        pytest.param("prometheus:\n", "prometheus", "no value", id="a section alone"),
        pytest.param("store: {directory: 5}", "store.directory", "write it as text", id="no path"),
        pytest.param(
            "rules: {adapt: {lines: maybe}}", "rules.adapt.lines", "neither true nor false", id="maybe"
        ),
        pytest.param(
            "export: {metric_format: mine}",
            "export.metric_format",
            "'pronoia', 'vmanomaly'",
            id="a choice, or a list of it",
        ),
        pytest.param(
            "events: [{name: a, start: tomorrow, duration: 1h}]",
            "events[0].start",
            "2026-01-31T18:00:00Z",
            id="no time",
        ),
        pytest.param("pauses: [{start: 10:00, end: 12:00}]", "pauses[0].start", "lies in 1970", id="a clock"),
        pytest.param("log: {level: '${NOPE}'}", "log.level", "", id="absent variable"),
        *(
            pytest.param(
                f"queries: [{{name: a, expr: up, {key}: {value}}}]",
                f"queries[0].{key}",
                "finite",
                id=f"{key} {value}",
            )
            for key, value in (
                ("lower_bound", ".nan"),
                ("upper_bound", ".inf"),
                ("min_deviation", ".inf"),
                ("false_alarms_per_series_per_month", ".inf"),
            )
        ),
        pytest.param(
            "queries: [{name: a, expr: up, lower_bound: 2, upper_bound: 1}]",
            "queries[0]",
            "swap them",
            id="swapped bounds",
        ),
        pytest.param(
            "queries: [{name: a, expr: up, forecast_horizons: [5m, 1h, 300]}]",
            "queries[0].forecast_horizons",
            "5m stands twice",
            id="a horizon twice",
        ),
        pytest.param(
            f"queries: [{{name: {'a' * 129}, expr: up}}]",
            "queries[0].name",
            "128 characters",
            id="no name of a file",
        ),
        *(
            pytest.param(f"prometheus: {{url: '{url}'}}", "prometheus.url", words, id=url)
            for url, words in (
                ("http://", "is not a URL"),
                ("http://:9090", "is not a URL"),
                ("http://h:99999", "is not a URL"),
                ("http://[::1", "is not a URL"),
                ("http://h h:9090", "is not a URL"),
                ("http://h:9090?tenant=x", "nothing behind its path"),
                ("http://h:9090#x", "nothing behind its path"),
            )
        ),
        pytest.param(
            'prometheus: {tenant: "a\\nb"}', "prometheus.tenant", "line break", id="a tenant of two lines"
        ),
        pytest.param(
            'prometheus: {http: {headers: {X: "b\\r\\nEvil: 1"}}}',
            "prometheus.http.headers.X",
            "line break",
            id="two headers in one",
        ),
        pytest.param("server: {listen: ':70000'}", "server.listen", "65535", id="no port"),
        pytest.param("calendar: {time_zone: Europe}", "calendar.time_zone", "Europe/Berlin", id="a folder"),
        pytest.param(f"log: {{level: {'a' * 30}}}", "log.level", "or 'error'", id="no word of several"),
        pytest.param("log: {level: Warn}", "log.level", "did you mean 'warning'?", id="nearly a word"),
        pytest.param(
            f"rules: {{interval: 1{'0' * 400}}}", "rules.interval", "write 100y or less", id="beyond a float"
        ),
        *(
            pytest.param(
                f"rules: {{publish: prometheus_rule, prometheus_rule: {{labels: {{{label}}}}}}}",
                f"rules.prometheus_rule.labels.{label.partition(':')[0]}",
                "Kubernetes label",
                id=label,
            )
            for label in ("a/b/c: x", "a: x-")
        ),
    ],
)
def test_faults_name_their_place_and_need(text: str, path: str, words: str) -> None:
    found = problems(text)
    assert path in found
    assert words in found[path]


def test_what_is_empty_only_without_what_was_refused_of_it_is_not_told_as_empty() -> None:
    assert set(problems("pauses: [{hours: {days: [monday]}}]")) == {"pauses[0].hours.days[0]"}
    assert set(problems("pauses: [{hours: {days: []}}]")) == {"pauses[0].hours.days"}


def test_off_is_off_with_and_without_quotes() -> None:
    for word in ("off", "'off'"):
        config = load_text(
            f"queries: [{{name: a, expr: up, absence: {word}}}]\nprometheus: {{remote_read: {word}}}"
        )
        assert (config.queries[0].absence, config.prometheus.remote_read) == ("off", "off")


def test_environment_fills_strings_after_parsing() -> None:
    text = (
        "prometheus: {url: 'http://${HOST}:9090', tenant: '${T:-team-a}',"
        " http: {headers: {X: '$${HOST}', Y: '${EVIL}'}}}"
    )
    config = load_text(text, env={"HOST": "prom", "EVIL": "prom: {evil: 1}"})
    assert config.prometheus.url == "http://prom:9090"
    assert config.prometheus.tenant == "team-a"
    assert config.prometheus.http.headers == {"X": "${HOST}", "Y": "prom: {evil: 1}"}


def test_overrides_win_over_the_file() -> None:
    config = load_text(
        "prometheus: {url: 'http://a', retries: 7}", overrides={"prometheus": {"url": "http://b"}}
    )
    assert (config.prometheus.url, config.prometheus.retries) == ("http://b", 7)


def test_an_unreadable_file_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_file(tmp_path / "none.yaml", env={})


def test_init_is_named_only_where_there_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="`pronoia init` writes one"):
        load_file(tmp_path / "gone.yaml", env={})
    with pytest.raises(ConfigError, match=r"cannot be read: Is a directory$"):
        load_file(tmp_path, env={})


def test_secrets_are_masked_and_read_from_files(tmp_path: Path) -> None:
    config = load_text("prometheus: {http: {bearer_token: hunter2}}")
    assert "hunter2" not in repr(config)
    assert "hunter2" not in config.model_dump_json()
    assert read_secret(config.prometheus.http.bearer_token, None) == "hunter2"
    file = tmp_path / "token"
    file.write_text("s3cret\n")
    assert read_secret(None, file) == "s3cret"
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(OSError, match="not UTF-8") as caught:
        read_secret(None, file)
    assert caught.value.filename == str(file)
    assert read_secret(None, None) is None


def test_errors_never_show_a_secret() -> None:
    with pytest.raises(ConfigError) as caught:
        load_text("prometheus: {http: {bearer_token: [hunter2]}}")
    assert "hunter2" not in str(caught.value)


def test_hash_changes_with_meaning_only() -> None:
    one = load_text("log: {level: info}")
    assert config_hash(one) == config_hash(load_text(""))
    assert config_hash(one) != config_hash(load_text("log: {level: debug}"))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30s", 30.0),
        ("5m", 300.0),
        ("1h30m", 5400.0),
        ("14d", 1209600.0),
        ("500ms", 0.5),
        (15, 15.0),
        ("0", 0.0),
    ],
)
def test_durations(text: object, seconds: float) -> None:
    assert parse_duration(text) == seconds
    assert parse_duration(format_duration(seconds)) == seconds


@pytest.mark.parametrize("text", ["", "fast", "5 m", "-5m", "1.5h", True, "m5"])
def test_what_is_not_a_duration(text: object) -> None:
    with pytest.raises(ValueError, match="not a duration"):
        parse_duration(text)


SECRET_URLS = {
    "notify.targets[0].url": "notify: {{targets: [{{name: x, url: '{}'}}]}}",
    "notify.targets[0].alertmanager.url": "notify: {{targets: [{{name: x, alertmanager: {{url: '{}'}}}}]}}",
    "response.hooks[0].url": "response: {{hooks: [{{name: x, match: {{a: b}}, url: '{}'}}]}}",
}


@pytest.mark.parametrize("place", SECRET_URLS)
@pytest.mark.parametrize(
    "url",
    [
        *("https://host:port/hunter2", "https:///hunter2", "https://[x/hunter2", "http://a b/hunter2"),
        *("http://a..b/hunter2", "http://host:99999/hunter2", "hunter2", ""),
    ],
)
def test_an_address_that_is_none_is_found_before_it_is_needed(place: str, url: str) -> None:
    """It was found by the first incident, which nobody was told of, and logged with its secret."""
    with pytest.raises(ConfigError) as caught:
        load_text(SECRET_URLS[place].format(url))
    (problem,) = caught.value.problems
    assert (problem.path, problem.message[:27]) == (place, "is no URL; write https://ho")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("place", SECRET_URLS)
@pytest.mark.parametrize("url", ["https://host/a?b=c", "http://[::1]:80/", "http://user:pass@host:9093/x"])
def test_an_address_may_hold_what_addresses_hold(place: str, url: str) -> None:
    load_text(SECRET_URLS[place].format(url))


@pytest.mark.parametrize("url", ["tgram://token/chat", "slack://A/B/C/#ops", "mailto://u:p@host"])
def test_of_a_target_apprise_s_addresses_are_taken_too(url: str) -> None:
    load_text(SECRET_URLS["notify.targets[0].url"].format(url))
    assert "response.hooks[0].url" in problems(SECRET_URLS["response.hooks[0].url"].format(url))
