"""Puts a figure into the file that somebody named: whole, or the file is as it was."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sidecar.durable import write_named
from sidecar.errors import ModelError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def save(figure: Figure, path: Path) -> None:
    """Save it in the format that the suffix says, as PNG where there is none.

    Raises: ModelError for a format that matplotlib does not know; OSError.
    """
    place = path if path.suffix else path.with_name(f"{path.name}.png")
    known = figure.canvas.get_supported_filetypes()
    suffix = place.suffix[1:].lower()
    if suffix not in known:
        raise ModelError(
            f"--plot {path}: {suffix!r} is no format that can be drawn: {', '.join(sorted(known))}"
        )
    write_named(place, lambda file: figure.savefig(file, format=suffix, dpi=110))
