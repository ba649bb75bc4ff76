"""The rule files that the configuration asks for by name, beside those that are learned."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sidecar.config.model import Config

if TYPE_CHECKING:
    from rules.document import RuleFile


def fixed_files(config: Config) -> list[RuleFile]:
    """The files of every objective and every pack."""
    from rules.generate.packs import load_pack
    from rules.generate.slo import slo_file

    return [
        *(slo_file(slo) for slo in config.slo),
        *(load_pack(name).file() for name in config.rules.packs),
    ]
