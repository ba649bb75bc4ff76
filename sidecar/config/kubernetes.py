"""The configuration of how the Kubernetes API is reached."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from sidecar.config.section import Section


class KubernetesConfig(Section):
    """The cluster that the pod runs in, by its service account, unless something else is stated."""

    api_url: str | None = Field(None, pattern=r"^https?://[^/]", description="by default the pod's cluster")
    token_file: Path | None = Field(
        None, description="by default the service account's, unless api_url is set"
    )
    ca_file: Path | None = Field(None, description="by default the service account's, unless api_url is set")
