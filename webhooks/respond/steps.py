"""What a hook does when it runs: a request, or a Kubernetes Job."""

from __future__ import annotations

import msgspec

from sidecar.config.response import LONGEST_STEP_SECONDS, Hook
from sidecar.errors import KubernetesError, NotifyError
from sidecar.records import Incident
from webhooks.notify.channel import Poster
from webhooks.notify.message import document
from webhooks.respond.jobs import JobRunner


class Steps:
    """Does what hooks are configured to do, and nothing else."""

    def __init__(self, jobs: JobRunner) -> None:
        self._jobs = jobs
        self._poster = Poster(LONGEST_STEP_SECONDS)

    async def run(self, hook: Hook, incident: Incident) -> str:
        """Do it; what to say of it. The caller bounds how long.

        Raises: NotifyError where it fails.
        """
        if hook.job is not None:
            try:
                return await self._jobs.run(hook, hook.job, incident)
            except KubernetesError as error:
                raise NotifyError(str(error), retryable=error.retryable) from error
        assert hook.url is not None
        key = f"hook/{hook.name}/{incident.incident_id}"
        body = msgspec.json.encode({**document("opened", incident, key=key), "hook": hook.name})
        await self._poster.post(hook.url.get_secret_value(), body=body, headers={"Idempotency-Key": key})
        return "done"

    async def close(self) -> None:
        """Let go of connections."""
        await self._poster.close()
