"""A report as sections of text and tables, written as Markdown or as one HTML page."""

from __future__ import annotations

import html
import re
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from urllib.parse import quote

STYLE = (
    ":root{color-scheme:light dark;--line:#ccc;--soft:#f4f4f4;--dim:#5c6675;--link:#3451b2}"
    "@media(prefers-color-scheme:dark){:root{--line:#3a4250;--soft:#1f2631;--dim:#94a0b4;--link:#8da4ef}"
    "body{background:#10141b;color:#e6eaf0}}"
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60em;margin:1.5em auto 3em;padding:0 1em;"
    "overflow-wrap:anywhere}h1{font-size:1.5em;line-height:1.25}h2{font-size:1.15em;margin:1.4em 0 .5em}"
    "a{color:var(--link)}svg text{fill:currentColor}"
    "table{border-collapse:collapse;width:100%}td,th{border:1px solid var(--line);padding:.3em .6em;"
    "text-align:left;vertical-align:top;min-width:4.5em}th{background:var(--soft)}"
    ".heads th{overflow-wrap:normal}.facts th{width:11em}time{white-space:nowrap}"
    "pre{background:var(--soft);padding:.6em;overflow:auto}"
    "button,input{font:inherit;box-sizing:border-box;padding:.5em .9em;min-height:2.75em}"
    # On a phone a row stands as lines under each other, each with its column's name.
    "@media(max-width:40em){.rows,.rows tbody,.rows tr{display:block}"
    ".heads{position:absolute;clip-path:inset(50%)}.rows tr{border:1px solid var(--line);margin-bottom:.5em}"
    ".rows td,.rows th{display:block;border:0;padding:.15em .6em}.facts th{width:8em}"
    "td[data-head]::before{content:attr(data-head) ': ';color:var(--dim)}svg text{font-size:22px}}"
)
"""Of every page that people read in a browser: light and dark, on a desk and on a phone."""
POLICY = (
    f"default-src 'none'; style-src 'sha256-{b64encode(sha256(STYLE.encode()).digest()).decode()}'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""What such a page may do where pronoia serves it: look as it does, and nothing else."""


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
    links: Sequence[tuple[str, str]] = ()
    """Words and the http address behind them."""


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
            parts += [f"[{_inline(words)}]({quote(url, safe=_OF_URLS)})" for words, url in section.links]
            if section.rows:
                table = [_row(section.columns), "| " + " | ".join("---" for _ in section.columns) + " |"]
                parts.append("\n".join([*table, *map(_row, section.rows)]))
            if section.code:
                inside = section.code.rstrip().replace("```", "'''")
                parts.append(f"```yaml\n{inside}\n```")
        return "\n\n".join(parts) + "\n"

    def page(self, *, above: str = "", below: str = "") -> str:
        """As one HTML page that needs nothing else; `above` and `below`: markup around the title."""
        parts = [opening(self.title), above, f'<h1 dir="auto">{html.escape(self.title)}</h1>', below]
        for section in self.sections:
            parts.append(f"<h2>{html.escape(section.heading)}</h2>")
            parts += [f'<p dir="auto">{html.escape(line)}</p>' for line in section.lines]
            parts += [
                f'<p><a href="{html.escape(url)}" rel="noreferrer">{html.escape(words)}</a></p>'
                for words, url in section.links
            ]
            parts.append(section.picture)
            if section.rows:
                parts.append(_table(section))
            if section.code:
                parts.append(f"<pre>{html.escape(section.code)}</pre>")
        return "\n".join(part for part in parts if part) + "</html>\n"


_OF_URLS = "/:?#[]@!$&'*+,;=%~"
"""What stays as it is in an address inside Markdown's parentheses."""
_STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


def opening(title: str) -> str:
    """How every page begins."""
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{STYLE}</style>"
    )


def _table(section: Section) -> str:
    """With the columns' names above, and in each cell for narrow screens; the first cell heads its row."""
    named = any(section.columns)
    heads = "".join(f'<th role="columnheader">{html.escape(name)}</th>' for name in section.columns)
    rows = []
    for row in section.rows:
        cells = [f'<th role="rowheader" dir="auto">{_shown(row[0])}</th>']
        for name, cell in zip(section.columns[1:], row[1:], strict=True):
            # On a phone an empty cell would be a name without anything.
            label = f' data-head="{html.escape(name)}"' if name and str(cell) else ""
            cells.append(f'<td role="cell" dir="auto"{label}>{_shown(cell)}</td>')
        rows.append(f'<tr role="row">{"".join(cells)}</tr>')
    top = f'<tr role="row" class="heads">{heads}</tr>' if named else ""
    return f'<table role="table" class="{"rows" if named else "facts"}">{top}{"".join(rows)}</table>'


def _shown(cell: object) -> str:
    """A cell's text; a time stays in one piece."""
    text = html.escape(str(cell))
    return f"<time>{text}</time>" if _STAMP.fullmatch(text) else text


def _row(cells: Sequence[object]) -> str:
    return "| " + " | ".join(_inline(str(cell)).replace("|", "\\|") for cell in cells) + " |"


def _inline(text: str) -> str:
    """One line in which nothing that came from outside is markup."""
    return re.sub(r"([\\`*_\[\]<>#])", r"\\\1", " ".join(text.split()))
