"""Writes the chart's values.schema.json: its own values, and `config` from pronoia's configuration model.

So a typing error inside `config` is refused by `helm install`, before a pod
exists. Run as `python -m tools.chart_schema` after a change to either;
`tests/unit/chart` fails while the file is stale.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from rules.generate.packs import load_pack
from sidecar.config.fields import OffWord, parse_duration
from sidecar.config.model import Config

CHART = Path(__file__).resolve().parent.parent / "helm" / "pronoia"
DURATION = {"type": "string", "pattern": r"^(0|([0-9]+(ms|[smhdwy]))+)$"}
REFERENCE = r"^\$\{[A-Za-z_][A-Za-z0-9_]*\}$"
# Keys that the chart sets itself, and that would part the pod from its Service or its volumes.
OURS = (
    ("ServerConfig", "listen"),
    ("StoreConfig", "directory"),
    ("RulesConfig", "directory"),
    ("RulesConfig", "publish"),
    ("RulesConfig", "prometheus_rule"),
    ("RulesConfig", "ruler"),
)
JSON = dict[str, Any]


class _Schema(GenerateJsonSchema):
    """What validators take beside the type itself: durations as `1h30m`, and `off` without quotes."""

    def function_before_schema(self, schema: core_schema.BeforeValidatorFunctionSchema) -> JsonSchemaValue:
        inner = super().function_before_schema(schema)
        if schema["function"]["function"] is parse_duration:
            return {"anyOf": [inner, dict(DURATION)]}
        if schema["function"]["function"] is OffWord.func:
            # Helm reads the bare word as a truth, as YAML does; pronoia takes it for the word again.
            return {"enum": [*inner["enum"], False]}
        return inner


def config_definitions() -> tuple[JSON, JSON]:
    """The schema of `config`, and the definitions it refers to."""
    schema = Config.model_json_schema(schema_generator=_Schema)
    definitions: JSON = schema.pop("$defs")
    for section, key in OURS:
        del definitions[section]["properties"][key]
    config: JSON = _tidy(schema)
    return config, {name: _tidy(body) for name, body in definitions.items()}


def _tidy(node: Any, *, names: bool = False) -> Any:
    """Without titles and defaults; secrets only as `${NAME}`; pydantic's `gt` as JSON Schema's word.

    `names`: the keys of this node are property names, not schema words.
    """
    if isinstance(node, list):
        return [_tidy(item) for item in node]
    if not isinstance(node, dict):
        return node
    if names:
        return {key: _tidy(value) for key, value in node.items()}
    if node.get("format") == "password":
        # A ConfigMap is no place for a secret.
        return {"type": "string", "pattern": REFERENCE}
    tidy: JSON = {}
    for key, value in node.items():
        if key in ("title", "default", "format", "writeOnly", "description"):
            continue
        if key in ("gt", "ge"):
            bounded = next(each for each in tidy["anyOf"] if each.get("type") == "number")
            bounded["exclusiveMinimum" if key == "gt" else "minimum"] = value
            continue
        tidy[key] = _tidy(value, names=key in ("properties", "$defs"))
    return tidy


def _object(properties: JSON, required: tuple[str, ...] = ()) -> JSON:
    schema: JSON = {"type": "object", "additionalProperties": False, "properties": properties}
    if required:
        schema["required"] = list(required)
    return schema


STRING: JSON = {"type": "string"}
NAME: JSON = {"type": "string", "minLength": 1}
BOOL: JSON = {"type": "boolean"}
STRINGS: JSON = {"type": "object", "additionalProperties": {"type": "string"}}
FREE: JSON = {"type": "object"}
FREE_LIST: JSON = {"type": "array", "items": {"type": "object"}}
SECONDS: JSON = {"type": "integer", "minimum": 1}
QUANTITY: JSON = {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?([EPTGMk]i?|m)?$"}
PROMETHEUS_DURATION: JSON = {"type": "string", "pattern": r"^([0-9]+(ms|[smhdwy]))+$"}
PORT: JSON = {"type": "integer", "minimum": 1, "maximum": 65535}
# Helm drops a key that Kubernetes does not know without a word: `limit` would be no limit.
RESOURCES: JSON = {
    "type": "object",
    "patternProperties": {"^(requests|limits|claims)$": {}},
    "additionalProperties": False,
}
GATEWAY: JSON = _object(
    {"name": NAME, "namespace": NAME, "sectionName": NAME, "port": PORT, "group": STRING, "kind": NAME},
    ("name",),
)
ACCESS_MODES = ("ReadWriteOnce", "ReadWriteOncePod", "ReadWriteMany")
PROBES = ("startup", "liveness", "readiness")
NAMESPACE: JSON = {"type": "string", "pattern": r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?)?$", "maxLength": 63}
DNS_LABEL: JSON = {"type": "string", "pattern": r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", "maxLength": 56}


def chart_values() -> JSON:
    """The properties of values.yaml other than `config`."""
    timed = {"periodSeconds": SECONDS, "timeoutSeconds": SECONDS, "failureThreshold": SECONDS}
    ruler = {
        "image": NAME,
        "tag": NAME,
        "evaluationInterval": PROMETHEUS_DURATION,
        "externalLabels": STRINGS,
        "remoteRead": FREE,
        "alertmanager": FREE,
        "resources": RESOURCES,
    }
    return {
        "global": FREE,  # Helm itself hands this to every chart.
        "mode": {"enum": ["deployment", "inPrometheus"]},
        "podSelector": STRINGS,
        "image": _object(
            {
                "repository": NAME,
                "tag": STRING,
                "digest": {"type": "string", "pattern": "^(sha256:[0-9a-f]{64})?$"},
                "pullPolicy": {"enum": ["Always", "IfNotPresent", "Never"]},
            },
            ("repository",),
        ),
        "imagePullSecrets": FREE_LIST,
        "nameOverride": STRING,
        "fullnameOverride": STRING,
        "rules": _object(
            {
                "mode": {"enum": ["none", "directory", "ruler", "prometheusRule"]},
                "volume": FREE,
                "prometheusRule": _object(
                    {
                        "labels": STRINGS,
                        "namespace": NAMESPACE,
                        "createRole": BOOL,
                        "prometheusServiceAccount": STRING,
                    }
                ),
                "ruler": _object(ruler, ("image", "tag", "evaluationInterval", "remoteRead", "alertmanager")),
            },
            ("mode", "prometheusRule", "ruler"),
        ),
        "secretMounts": {
            "type": "array",
            "items": _object({"name": DNS_LABEL, "existingSecret": NAME}, ("name", "existingSecret")),
        },
        "env": FREE_LIST,
        "envFrom": FREE_LIST,
        "extraVolumes": FREE_LIST,
        "extraVolumeMounts": FREE_LIST,
        "persistence": _object(
            {
                "enabled": BOOL,
                "existingClaim": STRING,
                "size": QUANTITY,
                "storageClass": STRING,
                "accessModes": {"type": "array", "minItems": 1, "items": {"enum": list(ACCESS_MODES)}},
                "keep": BOOL,
            },
            ("size", "accessModes"),
        ),
        "service": _object(
            {
                "type": {"enum": ["ClusterIP", "NodePort", "LoadBalancer"]},
                "port": PORT,
                "publishNotReadyAddresses": BOOL,
                "annotations": STRINGS,
            },
            ("type", "port"),
        ),
        "ingress": _object(
            {
                "enabled": BOOL,
                "className": STRING,
                "annotations": STRINGS,
                "hosts": {"type": "array", "items": NAME},
                "tls": FREE_LIST,
            }
        ),
        "httpRoute": _object(
            {
                "enabled": BOOL,
                "annotations": STRINGS,
                "parentRefs": {"type": "array", "items": GATEWAY},
                "hostnames": {"type": "array", "items": NAME},
            }
        ),
        "serviceMonitor": _object(
            {
                "enabled": BOOL,
                "labels": STRINGS,
                "interval": PROMETHEUS_DURATION,
                "syntheticInterval": PROMETHEUS_DURATION,
                "scrapeTimeout": PROMETHEUS_DURATION,
                "tlsConfig": FREE,
                "authorization": FREE,
            },
            ("interval", "syntheticInterval", "scrapeTimeout"),
        ),
        "alerts": _object(
            {
                "enabled": BOOL,
                "labels": STRINGS,
                "disabled": {"type": "array", "items": {"enum": sorted(load_pack("self").alert_names)}},
            }
        ),
        "dashboards": _object({"enabled": BOOL, "labels": STRINGS, "annotations": STRINGS}),
        "serviceAccount": _object(
            {"create": BOOL, "name": STRING, "annotations": STRINGS, "automountToken": BOOL}
        ),
        "rbac": _object({"create": BOOL, "namespace": STRING, "rules": FREE_LIST}),
        "networkPolicy": _object(
            {
                "enabled": BOOL,
                "from": FREE_LIST,
                "egress": FREE_LIST,
                "apiServer": _object(
                    {
                        "ports": {"type": "array", "minItems": 1, "items": PORT},
                        "cidrs": {"type": "array", "items": NAME},
                    },
                    ("ports",),
                ),
            },
            ("apiServer",),
        ),
        "podDisruptionBudget": _object(
            {
                "enabled": BOOL,
                "maxUnavailable": {"type": ["integer", "string"], "minimum": 0, "pattern": "^[0-9]+%?$"},
            },
            ("maxUnavailable",),
        ),
        "resources": RESOURCES,
        "terminationGracePeriodSeconds": SECONDS,
        "probes": _object(dict.fromkeys(PROBES, _object(timed)), PROBES),
        "podSecurityContext": FREE,
        "securityContext": FREE,
        "podAnnotations": STRINGS,
        "podLabels": STRINGS,
        "nodeSelector": STRINGS,
        "tolerations": FREE_LIST,
        "affinity": FREE,
        "priorityClassName": STRING,
    }


def render() -> str:
    """The text of values.schema.json.

    What values.yaml always has is required: a heading whose content is commented out takes it away.
    """
    config, definitions = config_definitions()
    config["required"] = ["prometheus"]
    definitions["SourceConfig"]["required"] = ["url"]
    values = {"config": config, **chart_values()}
    schema: JSON = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Values of the pronoia chart; written by tools/chart_schema.py",
        **_object(values, tuple(name for name in values if "properties" in values[name])),
        "$defs": definitions,
    }
    return json.dumps(schema, indent=2, sort_keys=False) + "\n"


if __name__ == "__main__":
    (CHART / "values.schema.json").write_text(render(), encoding="utf-8")
