"""What the words of an alert say: a failure or a slowness, a cause or a symptom, a heartbeat.

Patterns of English operations language, no names of rules or systems. An alert
is read by its name (split at capitals), summary and description together.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache

import msgspec

MAX_NAME = 200
MAX_TEXTS = 2048
"""Remembered are a rule's few texts; one that names its pod never comes again, and is up to a kilobyte."""
_CAMEL = re.compile(
    r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|(?<=[A-Za-z])(?=[45](?:xx|\d\d)(?![a-z0-9]))|[_-]+"
)
"""Between words, and before the class of an HTTP status: `Http5xxRatio`, `Gateway504`."""

_HEARTBEAT = re.compile(
    r"\b(always (be )?firing|dead ?man'?s? (switch|snitch)|heartbeat alert|used to inhibit"
    r"|alerting pipeline is functional|inhibitor)\b"
)
_HEARTBEAT_NAME = re.compile(
    r"(alert ?manager |prometheus )?(watch ?dog|heartbeat|dead ?mans? (switch|snitch))"
)
"""The whole of a rule's name: a kernel's watchdog that barks is another thing."""
_LOAD = re.compile(
    r"\b(traffic|request rate|requests? per second|rps|qps|throughput|call volume|surge|flood|ddos)\b"
)
_MONITORING = re.compile(
    r"\b(prom|prometheus|thanos|mimir|cortex|vm ?agent|vm ?alert|alertmanager|scrape|scraping"
    r"|rule evaluations?|remote write|ingesting samples"
    r"|exporter down|monitoring (is )?(down|out))\b"
)
_DOWN = re.compile(
    r"\b(is down|are down|down|unreachable|not ?ready|unavailable|outage|offline|crash\w*|oom\w*"
    r"|out of memory|panic|dead|lost|no leader|no master|missing master|split ?brain|partition(ed)?"
    r"|read ?only|corrupt\w*|evict\w*|unhealthy|sealed|(not|no longer) running|stopped|killed|hung|stuck"
    r"|stall(s|ed)?|disappeared|back ?off|restart(s|ing)|unready|failed state"
    r"|cluster red|red status|no (alive|active|available)"
    r"|(bad|failed|degraded) (disk|drive|raid)|raid)\b"
)
_RESOURCE = re.compile(
    r"\b(disk|volume|filesystem|memory|heap|swap|inodes?|steal|full|filling|fill up"
    r"|exhaust\w*|saturat\w*|limit"
    r"|max_\w*conn\w*|(too many|maximum|max|running out of|out of|no|few) (connections?|clients?)"
    r"|connections? (near|exhaust\w*|high|limit|used|in use)|no space|space left|out of space"
    r"|under[- ]replicated|in[- ]sync|unassigned shards?|network interface|receive errors|transmit errors"
    r"|pool|lock(s|ed)?|deadlock|blocked|replication|certificate|(tls|ssl|x509) certs?"
    r"|expir\w+|rollout|deploy\w*"
    r"|config\w*|quota|throttl\w*"
    r"|leak|license|file descriptors|handles|slow quer\w+|query time|packet loss|clock|gc pauses?|flapping)\b"
)
_SCRAPED = re.compile(
    r"\btargets?\b.{0,60}\b(down|unreachable|missing|disappeared|absent)\b|\btarget down\b"
    r"|\bscrap(e|es|ing)\b.{0,20}\bfail\w*|\bfail\w*.{0,12}\bscrap(e|es|ing)\b"
)
_NODE = re.compile(r"\b(nodes?|hosts?|machines?|hypervisor|vms?|kubelet|node-exporter)\b")
_SERVES_ALL = re.compile(
    r"\b(core ?dns|kube ?dns|dns|servfail|nxdomain|name resolution|ntp|ldap|service mesh|istiod)\b"
)
_PROMISE = re.compile(r"\b(error budget|budget burn|burn rate|slo|sla|service level)\b")
_SYMPTOM = re.compile(
    r"\b(latency|slow|p9\d|response time|timeouts?|error budget|burn\w*|budget|5xx|error rate|error ratio"
    r"|bad gateway|backlog|lag|behind|queue|upstream|downstream|dependency|apdex|slo)\b"
)
_HARD = re.compile(
    r"\b(5xx|50\d\b|server errors?|bad gateway|error (rate|ratio)|errors? (are )?(high|above)"
    r"|high errors?(?! budget)|errors? high|failing|failed requests?|requests? fail\w*"
    r"|failures? (rate|ratio|high|spik\w+|above)|high failures?|\d% of [^.]{0,40}\bfail\w*"
    r"|\d% of [^.]{0,40}\berrors?|probe\w* .{0,8}fail\w*|unsuccessful|health ?checks?\b.{0,25}\bfail\w*"
    r"|fail\w* (probes?|health ?checks?)|(too many|throw\w*|return\w*|many) errors|errors? spik\w+"
    r"|low success|success (rate|ratio).{0,30}\b(low|below|under|less|fell|drop\w*|falling)"
    r"|lookups? fail\w*|lookup failures?|no (master|leader|active controller)|missing master"
    r"|probe to \S+ failed|availability|(cannot|can ?not|can't) be reached|(does|do) ?n[o']t (respond|answer)"
    r"|not responding|unavailable|servfail|(burns?|budget).{0,25}\bfast|14\.4x?|is down|down\b|unreachable"
    r"|outage|exceptions?|expired|has expired|cert\w* (is )?invalid"
    r"|no space left|no (alive|healthy)|not serving|rejected|refused"
    r"|cluster red|red status|sealed|offline partitions?|partitions? (is |are )?offline|full)\b"
)
_NOT_HARD = re.compile(
    r"\b(targets?|crash\w*|replicas?|rollout|waiting state|non-ready|calls? (from|to)|sees errors|handshake"
    r"|scrap(e|es|ing)|burn\w* ?(6h|12h|24h|72h|1d|3d)|slow burn|outbound|egress"
    r"|dependenc(y|ies)|jobs?|filling|latency|near"
    r"|almost|nearly|expires?|will|predicted|replication)\b"
)
_FOR = re.compile(
    r"(?:more|longer|greater) than (\d+)\s*(s|sec|seconds?|m|min|mins|minutes?|h|hours?)\b"
    r"|for (\d+)\s*(m|min|minutes?)\b"
)


class Wording(msgspec.Struct, frozen=True):
    """What one alert's words say."""

    heartbeat: bool
    load: bool
    monitoring: bool
    down: bool
    resource: bool
    symptom: bool
    hard: bool
    scraped: bool
    node: bool
    serves_all: bool
    promise: bool
    held_seconds: float

    @property
    def cause(self) -> float:
        """From -1, plainly a symptom, to 1, plainly a cause."""
        if self.load:
            return 1.0
        if self.serves_all:
            return 1.0
        if self.scraped or self.monitoring:
            return 0.5 if self.monitoring and not self.scraped else 0.0
        if (self.down or self.resource) and not self.symptom:
            return 1.0
        if self.symptom and not (self.down or self.resource):
            return -1.0
        return 0.0


def spoken(alertname: str) -> str:
    """A rule's name as words.

    >>> spoken("KubePodOOM_killed")
    'kube pod oom killed'
    """
    return " ".join(_CAMEL.split(alertname)).lower()


def read(alertname: str, annotations: Mapping[str, str]) -> Wording:
    """What the words of an alert say; texts are cut at a thousand characters."""
    text = " . ".join(value for key, value in annotations.items() if "://" not in value[:12])
    return _read(alertname[:MAX_NAME], _shape(text[:1000]))


def _shape(text: str) -> str:
    """The text with long numbers made alike, so that equal templates are read once."""
    return re.sub(r"\d+\.\d+", "0.5", text.lower())


@lru_cache(maxsize=MAX_TEXTS)
def _read(alertname: str, text: str) -> Wording:
    name = spoken(alertname)
    both = f"{name} . {text}"
    hard = bool(_HARD.search(both)) and not _NOT_HARD.search(both)
    return Wording(
        heartbeat=bool(_HEARTBEAT_NAME.fullmatch(name) or _HEARTBEAT.search(both)),
        load=bool(_LOAD.search(both)) and not re.search(r"\berrors?\b|fail", both),
        monitoring=bool(_MONITORING.search(both)),
        down=bool(_DOWN.search(both)),
        resource=bool(_RESOURCE.search(both)),
        symptom=bool(_SYMPTOM.search(both)),
        hard=hard,
        scraped=bool(_SCRAPED.search(both)),
        node=bool(_NODE.search(both)),
        promise=bool(_PROMISE.search(both)),
        serves_all=bool(_SERVES_ALL.search(both)),
        held_seconds=_held(text),
    )


def _held(text: str) -> float:
    """How long the condition had held when the alert began to fire, as its text says; 0 where it does not."""
    found = _FOR.search(text)
    if not found:
        return 0.0
    number, unit = (found.group(1), found.group(2)) if found.group(1) else (found.group(3), found.group(4))
    scale = {"s": 1.0, "m": 60.0, "h": 3600.0}[unit[0]]
    seconds = float(number) * scale
    return seconds if seconds <= 1800.0 else 0.0
