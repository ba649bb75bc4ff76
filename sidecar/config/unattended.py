"""What becomes of people's own rules while nobody looks."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from sidecar.config.fields import LastingSeconds, OffWord
from sidecar.config.section import Section


class UnattendedConfig(Section):
    """How often existing rules are adapted anew, and what may go live without a person's approval."""

    mode: Annotated[Literal["off", "propose", "apply"], OffWord] = Field(
        "off", description="propose: rewrites wait for `pronoia rules approve`; apply: they go their way"
    )
    every: LastingSeconds = 86_400.0
    window: LastingSeconds = Field(28 * 86_400.0, description="how much of the past is learned from")
    step: LastingSeconds = Field(60.0, description="interval of evaluation in it")
    ask_for: tuple[str, ...] = Field(
        ("critical", "page"), description="rules of these severities wait for approval in any case"
    )
    max_rewrites: int = Field(5, ge=1, description="rules rewritten in one run; the worst offenders first")
