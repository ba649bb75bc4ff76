"""Families of series that spend their days alike, and who leaves them."""

from __future__ import annotations

from pydantic import Field

from sidecar.config.fields import LastingSeconds
from sidecar.config.section import Section


class BehaviourConfig(Section):
    """Families of series that spend their days alike."""

    enabled: bool = Field(False, description="look for families in each query, and tell who leaves one")
    interval: LastingSeconds = Field(6 * 3600.0, description="how often; two days of the query are read")
    step: LastingSeconds = Field(1800.0, le=3600.0, description="resolution of what is read")
