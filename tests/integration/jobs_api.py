"""The part of the Kubernetes API that runs Jobs: CronJobs to read, Jobs to make and to look at.

No cluster can run here, so this says what the documentation says: Status objects with their reasons,
RBAC by verb, Jobs checked against Kubernetes' own schema, conditions Complete and Failed.
"""

from __future__ import annotations

import re
from typing import Any

import kubernetes_validate

from tests.integration.channels import LocalServer

PATH = re.compile(
    r"/apis/batch/v1/namespaces/(?P<namespace>[^/]+)/(?P<kind>cronjobs|jobs)(/(?P<name>[^/]+))?"
)
Object = dict[str, Any]


def cronjob(name: str = "restart", **spec: Any) -> Object:
    """A suspended CronJob, as people put one there for pronoia."""
    container = {
        "name": "run",
        "image": "tools:1",
        "command": ["kubectl", "rollout", "restart", "deploy/cart"],
    }
    pod = {"restartPolicy": "Never", "serviceAccountName": "restarter", "containers": [container]}
    template = {"metadata": {"labels": {"team": "shop"}}, "spec": {"template": {"spec": pod}, **spec}}
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": name, "namespace": "shop", "uid": "u1"},
        "spec": {"schedule": "0 0 31 2 *", "suspend": True, "jobTemplate": template},
    }


class JobsApi(LocalServer):
    """One namespace, `shop`. `outcome`: what becomes of a Job at the second look."""

    def __init__(self, *cronjobs: Object, token: str = "good-token") -> None:
        self.cronjobs = {one["metadata"]["name"]: one for one in cronjobs or (cronjob(),)}
        self.jobs: dict[str, Object] = {}
        self.token = token
        self.verbs = {("get", "cronjobs"), ("create", "jobs"), ("get", "jobs")}
        self.outcome = "Complete"
        super().__init__()

    def answer(self, path: str, query: str, body: Any, headers: Any) -> tuple[int, dict[str, str], Any]:
        found = PATH.fullmatch(path)
        if headers.get("Authorization") != f"Bearer {self.token}":
            return _status(401, "Unauthorized", "Unauthorized")
        if found is None or found["namespace"] != "shop":
            return _status(404, "NotFound", "the server could not find the requested resource")
        verb, kind, name = ("get" if found["name"] else "create"), found["kind"], found["name"]
        if (verb, kind) not in self.verbs:
            words = f'User "system:serviceaccount:x:pronoia" cannot {verb} resource "{kind}"'
            return _status(403, "Forbidden", f"{kind}.batch is forbidden: {words}")
        if verb == "create":
            return self._create(body)
        held = (self.cronjobs if kind == "cronjobs" else self.jobs).get(name)
        if held is None:
            return _status(404, "NotFound", f'{kind}.batch "{name}" not found')
        if kind == "jobs":
            self._go_on(held)
        return 200, {}, held

    def _create(self, body: Object) -> tuple[int, dict[str, str], Any]:
        name = body["metadata"]["name"]
        if name in self.jobs:
            return _status(409, "AlreadyExists", f'jobs.batch "{name}" already exists')
        try:
            kubernetes_validate.validate(body, "1.31", strict=True)
        except kubernetes_validate.ValidationError as error:
            return _status(422, "Invalid", f'Job.batch "{name}" is invalid: {error.message}')
        if not re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", name) or len(name) > 63:
            return _status(422, "Invalid", f'Job.batch "{name}" is invalid: metadata.name')
        self.jobs[name] = {**body, "status": {}}
        return 201, {}, self.jobs[name]

    def _go_on(self, job: Object) -> None:
        if not job["status"]:
            job["status"] = {"active": 1}
        elif self.outcome:
            reason = {"type": self.outcome, "status": "True", "reason": "BackoffLimitExceeded"}
            job["status"] = {"conditions": [{"type": "Suspended", "status": "False"}, reason]}


def _status(code: int, reason: str, message: str) -> tuple[int, dict[str, str], Any]:
    status = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message}
    return code, {}, {**status, "reason": reason, "code": code}
