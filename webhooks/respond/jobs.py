"""Steps that are Kubernetes Jobs: made of a CronJob's template, watched to their end.

As `kubectl create job --from=cronjob/NAME` does it: what may run is what the cluster's people have
put there, usually suspended; pronoia adds a name, marks, and the incident as environment variables.
"""

from __future__ import annotations

import asyncio
import copy
import hashlib
import json
import re
from typing import Any

from sidecar.config.response import Hook, JobConfig
from sidecar.errors import KubernetesError, KubernetesReason
from sidecar.kubernetes import Cluster, KubernetesObject
from sidecar.records import Incident

CRONJOB = "/apis/batch/v1/namespaces/{namespace}/cronjobs/{name}"
JOBS = "/apis/batch/v1/namespaces/{namespace}/jobs"
POLL_SECONDS = 2.0
KEEP_SECONDS = 86400
"""A Job that is over is kept so long, where its template does not say."""
MAX_NAME = 63
"""A Job's name becomes a label of its pods."""


class JobRunner:
    """Runs a hook's Job. `poll_seconds`: how often it is looked at."""

    def __init__(self, cluster: Cluster, *, poll_seconds: float = POLL_SECONDS) -> None:
        self._cluster = cluster
        self._poll = poll_seconds

    async def run(self, hook: Hook, job: JobConfig, incident: Incident) -> str:
        """Make the Job and wait for its end, which the caller bounds; what to say of it.

        A Job of the same name is the same run, made by a try whose answer never came.

        Raises: KubernetesError; also where the Job fails.
        """
        namespace = job.namespace or await asyncio.to_thread(self._cluster.own_namespace)
        path = CRONJOB.format(namespace=namespace, name=job.cronjob)
        status, cronjob = await self._cluster.request("GET", path)
        if status != 200:
            raise refusal(status, cronjob, f"CronJob {namespace}/{job.cronjob}")
        body = job_of(cronjob, hook, incident)
        name = body["metadata"]["name"]
        jobs = JOBS.format(namespace=namespace)
        status, made = await self._cluster.request("POST", jobs, body)
        if status not in (200, 201) and not (status == 409 and made.get("reason") == "AlreadyExists"):
            raise refusal(status, made, f"Job {namespace}/{name}")
        while True:
            status, found = await self._cluster.request("GET", f"{jobs}/{name}")
            if status != 200:
                raise refusal(status, found, f"Job {namespace}/{name}")
            ended = _end_of(found)
            if ended is not None:
                done, why = ended
                if not done:
                    words = f"Job {namespace}/{name} failed: {why}"
                    raise KubernetesError(KubernetesReason.FAILED, words)
                return f"Job {namespace}/{name} is complete"
            await asyncio.sleep(self._poll)


def job_of(cronjob: KubernetesObject, hook: Hook, incident: Incident) -> KubernetesObject:
    """The Job that a CronJob's template makes for an incident. One name for a hook and an incident.

    Raises: KubernetesError for what has no template.
    """
    try:
        template = copy.deepcopy(cronjob["spec"]["jobTemplate"])
        spec = template["spec"]
        containers = spec["template"]["spec"]["containers"]
    except (KeyError, TypeError) as error:
        words = f"this CronJob has no jobTemplate: no {error}"
        raise KubernetesError(KubernetesReason.FAILED, words) from error
    marks = template.get("metadata") or {}
    for container in containers:
        container["env"] = _with_incident(container.get("env") or [], incident)
    spec.setdefault("activeDeadlineSeconds", max(int(hook.timeout), 1))
    spec.setdefault("ttlSecondsAfterFinished", KEEP_SECONDS)
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": name_of(hook, incident),
            "labels": {**(marks.get("labels") or {}), "app.kubernetes.io/managed-by": "pronoia"},
            "annotations": {
                **(marks.get("annotations") or {}),
                "cronjob.kubernetes.io/instantiate": "manual",
                "pronoia/hook": hook.name,
                "pronoia/incident": incident.incident_id,
            },
        },
        "spec": spec,
    }


def name_of(hook: Hook, incident: Incident) -> str:
    """A DNS label that says which hook, and is another one for each incident."""
    digest = hashlib.sha256(f"{hook.name}\n{incident.incident_id}".encode()).hexdigest()[:10]
    readable = re.sub(r"[^a-z0-9]+", "-", hook.name.lower()).strip("-")
    return f"pronoia-{readable[: MAX_NAME - 20]}-{digest}".replace("--", "-")


def refusal(status: int, document: KubernetesObject, what: str) -> KubernetesError:
    """What an answer that is no success means."""
    words = str(document.get("message") or status)
    hint = ""
    if status == 403:
        hint = "; the Role of pronoia's service account must let it get cronjobs, get and create jobs"
    away = status >= 500 or status == 429
    reason = KubernetesReason.UNREACHABLE if away else KubernetesReason.REFUSED
    return KubernetesError(reason, f"{what}: {words}{hint}")


def _with_incident(env: list[Any], incident: Incident) -> list[Any]:
    """A container's variables and the incident's, which come from alerts: as values, never as commands."""
    own = {
        "PRONOIA_INCIDENT_ID": incident.incident_id,
        "PRONOIA_PRIORITY": incident.priority,
        "PRONOIA_CAUSE": incident.causes[0].service if incident.causes else "",
        "PRONOIA_LABELS": json.dumps(incident.shared_labels, sort_keys=True),
    }
    # `$(NAME)` in a value would be replaced by Kubernetes; `$$` stands for a dollar.
    added = [{"name": name, "value": value.replace("$", "$$")} for name, value in own.items()]
    return [*(one for one in env if one.get("name") not in own), *added]


def _end_of(job: KubernetesObject) -> tuple[bool, str] | None:
    """Whether a Job that is over succeeded, and why not; None while it is not over."""
    for condition in (job.get("status") or {}).get("conditions") or ():
        if condition.get("status") == "True" and condition.get("type") in ("Complete", "Failed"):
            why = f"{condition.get('reason', '')} {condition.get('message', '')}".strip()
            return condition["type"] == "Complete", why or "no reason is given"
    return None
