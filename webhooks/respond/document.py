"""A report as sections of text and tables, written as Markdown or as one HTML page."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60em;margin:2em auto;padding:0 1em}"
    "table{border-collapse:collapse;width:100%}td,th{border:1px solid #ccc;padding:.3em .6em;text-align:left;"
    "vertical-align:top}th{background:#f4f4f4}pre{background:#f4f4f4;padding:.6em;overflow:auto}"
)


@dataclass(frozen=True)
class Section:
    """A heading with lines, a table, or a block of code under it."""

    heading: str
    lines: Sequence[str] = ()
    columns: Sequence[str] = ()
    rows: Sequence[Sequence[object]] = ()
    code: str = ""
    picture: str = ""
    """An SVG; Markdown leaves it out."""


@dataclass
class Report:
    """A title and its sections."""

    title: str
    sections: list[Section] = field(default_factory=list)

    def markdown(self) -> str:
        """As Markdown."""
        parts = [f"# {_inline(self.title)}"]
        for section in self.sections:
            parts.append(f"## {_inline(section.heading)}")
            parts += [_inline(line) for line in section.lines]
            if section.rows:
                table = [_row(section.columns), "| " + " | ".join("---" for _ in section.columns) + " |"]
                parts.append("\n".join([*table, *map(_row, section.rows)]))
            if section.code:
                inside = section.code.rstrip().replace("```", "'''")
                parts.append(f"```yaml\n{inside}\n```")
        return "\n\n".join(parts) + "\n"

    def page(self) -> str:
        """As one HTML page that needs nothing else."""
        title = html.escape(self.title)
        parts = [
            f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>',
            f"<style>{STYLE}</style><h1>{title}</h1>",
        ]
        for section in self.sections:
            parts.append(f"<h2>{html.escape(section.heading)}</h2>")
            parts += [f"<p>{html.escape(line)}</p>" for line in section.lines]
            parts.append(section.picture)
            if section.rows:
                head = "".join(f"<th>{html.escape(str(cell))}</th>" for cell in section.columns)
                body = "".join(
                    "<tr>" + "".join(f"<td>{html.escape(str(cell))}</td>" for cell in row) + "</tr>"
                    for row in section.rows
                )
                parts.append(f"<table><tr>{head}</tr>{body}</table>")
            if section.code:
                parts.append(f"<pre>{html.escape(section.code)}</pre>")
        return "\n".join(part for part in parts if part) + "</html>\n"


def _row(cells: Sequence[object]) -> str:
    return "| " + " | ".join(_inline(str(cell)).replace("|", "\\|") for cell in cells) + " |"


def _inline(text: str) -> str:
    """One line in which nothing that came from outside is markup."""
    return re.sub(r"([\\`*_\[\]<>#])", r"\\\1", " ".join(text.split()))
