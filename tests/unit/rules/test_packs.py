"""Ready rules on more than the two cases that each of them brings along."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import yaml

from rules.generate.packs import load_pack
from rules.generate.promtool_tests import Case, promtool_file
from tests.integration.servers import binary

DAY = 1440
REQUESTS = 'http_requests_total{service="s",code="200"}'


@pytest.mark.parametrize(
    ("pack", "case"),
    [
        pytest.param(
            "http",
            Case("HttpTrafficDropped", {REQUESTS: f"0+600x{DAY} {600 * DAY + 600}+6x200"}, 1, "26h"),
            id="traffic that falls",
        ),
        pytest.param(
            "http",
            Case(
                "HttpTrafficDropped",
                # A quiet day a week ago and today, busy ones between.
                {REQUESTS: f"0+60x{DAY} {60 * DAY}+600x{6 * DAY} {60 * DAY + 3600 * DAY}+60x400"},
                0,
                "7d5h",
            ),
            id="the quiet day of each week is no drop",
        ),
        pytest.param(
            "music-streaming",
            Case("ListenersGone", {'stream_sessions_active{region="eu"}': f"5000x{DAY} 2000x200"}, 1, "26h"),
            id="listeners who leave",
        ),
        pytest.param(
            "alertmanager",
            Case(
                "AlertmanagerNotificationsFail",
                {
                    'alertmanager_notifications_failed_total{integration="slack"}': "0+3x200",
                    'alertmanager_notifications_total{integration="slack"}': "0+6x200",
                },
                1,
            ),
            id="alertmanager before 0.26 counts failures without a reason",
        ),
        pytest.param(
            "prometheus",
            Case("PrometheusNotIngesting", {"prometheus_tsdb_head_samples_appended_total": "1000x200"}, 1),
            id="prometheus before 2.40 counts samples without a type",
        ),
        pytest.param(
            "databases",
            Case(
                "PostgresConnectionsShort",
                {
                    'pg_stat_activity_count{instance="d",state="idle"}': "90x200",
                    'pg_settings_max_connections{instance="d"}': "100x200",
                },
                1,
            ),
            id="postgres_exporter asked for one server of many does not name it",
        ),
        pytest.param(
            "databases",
            Case("PostgresReplicationLags", {'pg_replication_lag{instance="d"}': "300x200"}, 1),
            id="postgres_exporter before 0.12 names the lag without its unit",
        ),
        pytest.param(
            "databases",
            Case(
                "RedisMemoryShort",
                {
                    'redis_memory_used_bytes{instance="r"}': "95x200",
                    'redis_memory_max_bytes{instance="r"}': "100x200",
                },
                1,
            ),
            id="redis whose policy is not exported",
        ),
        pytest.param(
            "self",
            Case("PronoiaDown", {'up{job="pronoia",instance="a"}': "0x200"}, 1),
            id="pronoia does not answer",
        ),
        pytest.param(
            "self",
            Case(
                "PronoiaNotificationsGivenUp",
                {'pronoia_notifications_total{target="a",result="dead"}': "4x150 5x50"},
                1,
            ),
            id="one more message that was given up",
        ),
        pytest.param(
            "self",
            Case(
                "PronoiaNotScoring",
                {
                    'pronoia_query_last_evaluation_timestamp_seconds{query="a"}': "0+60x100 6000x100",
                    'pronoia_query_step_seconds{query="a"}': "60x200",
                },
                1,
            ),
            id="a query that is no longer judged",
        ),
        pytest.param(
            "kubernetes",
            Case(
                "KubeVolumeFills",
                {
                    'kubelet_volume_stats_available_bytes{namespace="n",persistentvolumeclaim="v"}': "20x200",
                    'kubelet_volume_stats_capacity_bytes{namespace="n",persistentvolumeclaim="v"}': "1e3x200",
                },
                1,
            ),
            id="a volume that is full",
        ),
        pytest.param(
            "kubernetes",
            Case(
                "KubePodCrashLoops",
                {'kube_pod_container_status_restarts_total{namespace="n",pod="p",container="c"}': "0+1x200"},
                1,
            ),
            id="a container that starts every minute",
        ),
    ],
)
def test_a_rule_on_a_further_case(pack: str, case: Case, tmp_path: Path) -> None:
    whole = load_pack(pack)
    file = whole.without(whole.alert_names - {case.alert}).file()
    (tmp_path / file.file_name).write_text(file.text)
    (tmp_path / "case.yaml").write_text(promtool_file([file.file_name], [case]))
    done = subprocess.run(
        [binary("promtool"), "test", "rules", "case.yaml"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("metric", "dashboard"), [("pg_up", "9628"), ("mysql_up", "14057"), ("redis_up", "763")]
)
def test_a_dashboard_is_that_of_the_database_which_is_down(
    metric: str, dashboard: str, tmp_path: Path
) -> None:
    """As Prometheus renders the annotation."""
    (rule,) = (
        rule
        for rule in yaml.safe_load(load_pack("databases").file().text)["groups"][0]["rules"]
        if rule.get("alert") == "DatabaseDown"
    )
    rule = {**rule, "annotations": {"url": rule["annotations"]["dashboard_url"]}}
    (tmp_path / "a.yaml").write_text(json.dumps({"groups": [{"name": "g", "rules": [rule]}]}))
    expected = {
        "exp_labels": rule["labels"],
        "exp_annotations": {"url": f"https://grafana.com/grafana/dashboards/{dashboard}"},
    }
    test = {
        "input_series": [{"series": metric, "values": "0x10"}],
        "alert_rule_test": [{"eval_time": "5m", "alertname": "DatabaseDown", "exp_alerts": [expected]}],
    }
    (tmp_path / "t.yaml").write_text(json.dumps({"rule_files": ["a.yaml"], "tests": [test]}))
    done = subprocess.run(
        [binary("promtool"), "test", "rules", "t.yaml"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
