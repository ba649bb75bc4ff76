"""What contradicts itself, or names what is not there, is refused where it stands."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from sidecar.config.load import load_text
from sidecar.errors import ConfigError

SLACK = "slack: {token: x, channel: c}"
EMAIL = "email: {server: h, sender: a@b, to: [c@d]"
PEOPLE = f"notify: {{targets: [{{name: t, {SLACK}}}]}}\npeople: [{{name: ann, targets: [t]}}]\n"


@pytest.mark.parametrize(
    ("text", "path", "words"),
    [
        # Times.
        ("rules: {adapt: {freeze: [{start: 10:00, end: 12:00}]}}", "rules.adapt.freeze[0].start", "in 1970"),
        (
            "rules: {adapt: {freeze: [{start: 2026-01-02, end: 2026-01-01}]}}",
            "rules.adapt.freeze[0]",
            "exchange them",
        ),
        ("response: {maintenance: [{match: {a: b}}]}", "response.maintenance[0]", "start and end, or hours"),
        (
            "response: {maintenance: [{match: {a: b}, hours: {}, start: 2026-01-01T00:00:00Z}]}",
            "response.maintenance[0]",
            "start and end, or hours",
        ),
        (
            "response: {maintenance: [{match: {a: b}, start: 2026-01-02T00:00Z, end: 2026-01-01T00:00Z}]}",
            "response.maintenance[0]",
            "ends before",
        ),
        (
            "response: {maintenance: [{match: {a: b}, start: 2026-01-02T00:00Z}]}",
            "response.maintenance[0]",
            "start and end, or hours",
        ),
        (
            "rules: {adapt: {freeze: [{start: 2026-01-02, end: 2026-01-02}]}}",
            "rules.adapt.freeze[0]",
            "exchange them",
        ),
        # Bounds.
        (
            "rules: {adapt: {limits: {Slow: {floor: 2, ceiling: 1}}}}",
            "rules.adapt.limits.Slow",
            "exchange them",
        ),
        # Places of rules.
        ("rules: {directory: /r, publish: ruler}", "rules", "publish: files"),
        ("rules: {directory: /r, prometheus_rule: {}}", "rules", "publish: prometheus_rule"),
        # Credentials.
        ("prometheus: {http: {basic_auth: {username: a}}}", "prometheus.http.basic_auth", "exactly one"),
        (
            "prometheus: {http: {basic_auth: {username: a, password: b, password_file: c}}}",
            "prometheus.http.basic_auth",
            "exactly one",
        ),
        ("prometheus: {http: {tls: {cert_file: a}}}", "prometheus.http.tls", "give both or neither"),
        ("prometheus: {http: {tls: {key_file: a}}}", "prometheus.http.tls", "give both or neither"),
        ("webhook: {auth: {bearer_token: a, hmac_secret: b}}", "webhook.auth", "token and hmac_secret"),
        ("webhook: {auth: {bearer_token: a, bearer_token_file: b}}", "webhook.auth", "keep one"),
        ("webhook: {auth: {hmac_secret: a, hmac_secret_file: b}}", "webhook.auth", "keep one"),
        ("notify: {targets: [{name: a, slack: {channel: c}}]}", "notify.targets[0].slack", "exactly one"),
        (
            "notify: {targets: [{name: a, slack: {token: x, channel: c, signing_secret: a,"
            " signing_secret_file: b}}]}",
            "notify.targets[0].slack",
            "keep one",
        ),
        ("notify: {targets: [{name: a, pagerduty: {}}]}", "notify.targets[0].pagerduty", "exactly one"),
        (
            "notify: {targets: [{name: a, pagerduty: {routing_key: x, webhook_secret: a,"
            " webhook_secret_file: b}}]}",
            "notify.targets[0].pagerduty",
            "keep one",
        ),
        (f"notify: {{targets: [{{name: a, {EMAIL}, username: u}}}}]}}", "notify.targets[0].email", "one of"),
        (
            f"notify: {{targets: [{{name: a, {EMAIL}, username: u, password: p, tls: none}}}}]}}",
            "notify.targets[0].email",
            "in clear",
        ),
        # Ways to people.
        ("notify: {targets: [{name: a}]}", "notify.targets[0]", "has none"),
        (f"notify: {{targets: [{{name: a, url: 'http://h', {SLACK}}}]}}", "notify.targets[0]", "url and"),
        (f"notify: {{targets: [{{name: a, {SLACK}, fallback: a}}]}}", "notify.targets[0]", "its own"),
        (f"notify: {{targets: [{{name: a, {SLACK}, fallback: b}}]}}", "notify.targets", "no target 'b'"),
        (f"notify: {{targets: [{{name: a, {SLACK}}}, {{name: a, {SLACK}}}]}}", "notify.targets", "twice"),
        # Hooks.
        ("response: {hooks: [{name: x, match: {a: b}}]}", "response.hooks[0]", "exactly one of url and job"),
        (
            "response: {hooks: [{name: x, match: {a: b}, url: 'http://h', after: y}, "
            "{name: y, match: {a: b}, url: 'http://h'}]}",
            "response.hooks",
            "above: none",
        ),
        (
            "response: {hooks: [{name: x, match: {a: b}, url: 'http://h'}, "
            "{name: x, match: {a: b}, url: 'http://h'}]}",
            "response.hooks",
            "used twice",
        ),
        # Names of one thing.
        ("webhook: {receivers: [{name: a}, {name: a}]}", "webhook.receivers", "used twice"),
        (
            "webhook: {impact: {services: [{name: Shop}, {name: shop}]}}",
            "webhook.impact",
            "'shop' is named twice",
        ),
        (
            "enrichment: {links: [{name: a, url: 'http://h'}, {name: a, url: 'http://i'}]}",
            "enrichment.links",
            "used twice",
        ),
        # What is not there, or is not of its kind.
        ("enrichment: {tables: [{name: a, file: t.txt, keys: [b]}]}", "enrichment.tables[0].file", ".csv"),
        (
            "webhook: {impact: {services: [{name: a, users: 'sum('}]}}",
            "webhook.impact.services[0].users",
            "PromQL",
        ),
        ("slo: [{name: a, objective: 0.9, errors: up, total: up}]", "slo[0].errors", "has no"),
        ("calendar: {country: XX}", "calendar", "no holidays of 'XX'"),
        ("calendar: {country: DE, subdivision: ZZ}", "calendar", "known: BB, BE, BW"),
        ("calendar: {subdivision: BY}", "calendar", "needs country"),
        # Who answers.
        (PEOPLE + "schedules: [{name: s}]", "schedules[0]", "either rotations or source"),
        (
            PEOPLE + "schedules: [{name: s, source: {ical: a, url: 'http://h'}}]",
            "schedules[0].source",
            "exactly one",
        ),
        (
            PEOPLE + "schedules: [{name: s, source: {ical: a, token: a, token_file: b}}]",
            "schedules[0].source",
            "keep one",
        ),
        (
            PEOPLE + "schedules: [{name: s, rotations: [{people: [bob], start: 2026-01-01}]}]",
            "(top)",
            "no person 'bob'; known: ann",
        ),
        (
            PEOPLE + "schedules: [{name: s, rotations: [{people: [ann], start: 2026-01-01}],"
            " overrides: [{person: ann, start: 2026-01-02, end: 2026-01-02}]}]",
            "schedules[0].overrides[0]",
            "ends before",
        ),
        (
            f"notify: {{targets: [{{name: t, {SLACK}}}]}}\npeople: [{{name: ann, targets: [u]}}]",
            "(top)",
            "people: ann: there is no target 'u'; known: t",
        ),
        (
            f"notify: {{targets: [{{name: t, {SLACK}}}]}}\n"
            "people: [{name: ann, targets: [t]}, {name: ann, targets: [t]}]",
            "(top)",
            "people: the name 'ann' is used twice",
        ),
        (
            PEOPLE + "schedules: [{name: s, rotations: [{people: [ann], start: 2026-01-01}],"
            " overrides: [{person: bob, start: 2026-01-02, end: 2026-01-03}]}]",
            "(top)",
            "no person 'bob'; known: ann",
        ),
        (
            PEOPLE + "teams: [{name: a, match: {job: '('}, steps: [{targets: [t]}]}]",
            "teams[0].match.job",
            "no regular expression",
        ),
        (
            "teams: [{name: a, steps: [{targets: [t]}]}]",
            "(top)",
            "no target 't'; known: none",
        ),
        (PEOPLE + "teams: [{name: a, steps: [{}]}]", "teams[0].steps[0]", "tells nobody"),
        (PEOPLE + "teams: [{name: a, steps: [{targets: [t], after: 1m}]}]", "teams[0]", "begin at once"),
        (
            PEOPLE + "teams: [{name: a, steps: [{targets: [t]}, {targets: [t], after: 2m}, "
            "{targets: [t], after: 1m}]}]",
            "teams[0]",
            "in the order",
        ),
        (PEOPLE + "teams: [{name: a, steps: [{on_call: night}]}]", "(top)", "no schedule 'night'"),
        (PEOPLE + "teams: [{name: a, steps: [{targets: [u]}]}]", "(top)", "no target 'u'; known: t"),
        (
            PEOPLE + "teams: [{name: a, steps: [{targets: [t]}], weekly_report: [u]}]",
            "(top)",
            "'u'; known: t",
        ),
        (
            "notify: {targets: [{name: p, pagerduty: {routing_key: x}}]}\n"
            "teams: [{name: a, steps: [{targets: [p]}], weekly_report: [p]}]",
            "(top)",
            "p is a pager",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused_where_it_stands(text: str, path: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_text(text)
    (found,) = [one for one in caught.value.problems if one.path == path] or caught.value.problems
    assert (found.path, words in found.message) == (path, True), found


def test_a_freeze_without_a_zone_is_in_utc() -> None:
    config = load_text("rules: {adapt: {freeze: [{start: 2026-01-01, end: 2026-01-01T08:00:00+02:00}]}}")
    (freeze,) = config.rules.adapt.freeze
    assert (freeze.start, freeze.end) == (
        datetime(2026, 1, 1, tzinfo=UTC),
        datetime(2026, 1, 1, 6, tzinfo=UTC),
    )


@pytest.mark.parametrize(
    "text",
    [
        "rules: {adapt: {limits: {A: {floor: 1}, B: {ceiling: 1}, C: {floor: 1, ceiling: 1}}}}",
        "calendar: {country: DE}",
        "calendar: {country: DE, subdivision: BY}",
        "response: {maintenance: [{match: {a: b}, hours: {}}]}",
        "response: {maintenance: [{match: {a: b}, start: 2026-01-01T00:00Z, end: 2026-01-02T00:00Z}]}",
        "response: {hooks: [{name: x, match: {a: b}, url: 'http://h'}, "
        "{name: y, match: {a: b}, url: 'http://h', after: x}]}",
        "prometheus: {http: {basic_auth: {username: a, password_file: b}, tls: {cert_file: a, key_file: b}}}",
        "webhook: {auth: {bearer_token_file: a}, impact: {services: [{name: a, users: up}, {name: b}]}}",
        f"notify: {{targets: [{{name: a, {EMAIL}, username: u, password: p, tls: implicit}}}}]}}",
        PEOPLE + "schedules: [{name: s, source: {ical: a, token: b}, "
        "overrides: [{person: ann, start: 2026-01-02, end: 2026-01-03}]}]",
        PEOPLE + "teams: [{name: a, steps: [{targets: [t]}, {experts: 1, after: 1m}], weekly_report: [t]}]",
    ],
)
def test_what_only_looks_alike_is_taken(text: str) -> None:
    load_text(text)
