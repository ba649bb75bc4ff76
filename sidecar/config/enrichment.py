"""The configuration of what is added to an incident when it is told of: tables, queries, links."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from sidecar.config.fields import LabelName, PositiveSeconds
from sidecar.config.section import Section


class TableConfig(Section):
    """A mapping table, CSV with a header or a YAML list: facts of what its key columns name."""

    name: str = Field(min_length=1, max_length=60)
    file: Path = Field(description="read at start and at a reload")
    keys: tuple[LabelName, ...] = Field(
        min_length=1, description="columns that equal labels of the incident; an empty cell fits any"
    )
    team: str | None = Field(None, description="the column that names the owning team, which is told then")

    @field_validator("file")
    @classmethod
    def _is_known_kind(cls, file: Path) -> Path:
        if file.suffix not in (".csv", ".yaml", ".yml"):
            raise ValueError(f"{file} is neither .csv nor .yaml")
        return file


class EnrichmentQuery(Section):
    """A PromQL expression that is evaluated when an incident is told of; `{{ label }}` is a label's value."""

    name: str = Field(min_length=1, max_length=60)
    expr: str = Field(min_length=1)
    unit: Literal["number", "percent", "bytes", "seconds"] = Field(
        "number", description="how values are written; a percent is a share of 1"
    )


class EnrichmentLink(Section):
    """A link in messages; `{{ label }}` is a label's value. Left out where the incident has not the label."""

    name: str = Field(min_length=1, max_length=60)
    url: str = Field(pattern=r"^https?://")


class EnrichmentConfig(Section):
    """What messages say beside what alerts do."""

    tables: tuple[TableConfig, ...] = ()
    queries: tuple[EnrichmentQuery, ...] = Field((), max_length=10)
    links: tuple[EnrichmentLink, ...] = Field((), max_length=10)
    runbooks: bool = Field(True, description="link the runbook_url that the alerts of the cause carry")
    pictures: bool = Field(
        True,
        description="draw the worst series where a channel takes pictures (slack, email, some of apprise's)",
    )
    timeout: PositiveSeconds = Field(1.0, le=5.0, description="a message waits no longer for all of this")

    @field_validator("tables", "queries", "links")
    @classmethod
    def _unique(
        cls, parts: Sequence[TableConfig | EnrichmentQuery | EnrichmentLink]
    ) -> Sequence[TableConfig | EnrichmentQuery | EnrichmentLink]:
        names = [part.name for part in parts]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"the name {name!r} is used twice; names must be unique")
        return parts
