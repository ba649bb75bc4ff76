"""Names a figure's panels, and puts it into the file that somebody named: whole, or the file is as it was."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from sidecar.durable import write_named
from sidecar.errors import ModelError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_TITLE = 150
"""About what fits above a panel."""


def name(axes: Axes, title: str) -> None:
    """Write a series' name above its panel, as it is: what stands between two `$` is no formula."""
    shown = title if len(title) <= MAX_TITLE else f"{title[: MAX_TITLE - 1]}…"
    axes.set_title(shown, fontsize=9, loc="left", parse_math=False)


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
    with warnings.catch_warnings():
        # A letter that the font lacks is a box in the picture; nobody can do anything about it.
        warnings.filterwarnings("ignore", message=r"Glyph .* missing", category=UserWarning)
        write_named(place, lambda file: figure.savefig(file, format=suffix, dpi=110))
