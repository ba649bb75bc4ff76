"""How the story looks: two lines a beat, coloured on a terminal and plain elsewhere."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.text import Text

from sidecar.cli.demo.story import WIDTH


class Terminal:
    """Prints the story, and can save what it printed as a picture."""

    def __init__(self, *, record: Path | None = None, console: Console | None = None) -> None:
        self._record = record
        self.console = console or Console(record=record is not None, highlight=False)
        if not self.console.is_terminal or record is not None:
            # A log has no width of its own, and a picture should look the same each time.
            self.console.width = WIDTH

    def title(self, text: str) -> None:
        """One line in bold."""
        self._print(Text(text, style="bold"))

    def note(self, text: str) -> None:
        """One quiet line."""
        self._print(Text(text, style="dim"))

    def fault(self, text: str) -> None:
        """Something that went wrong, as long as it needs to be."""
        self.console.print(Text(text, style="red"), soft_wrap=True)

    def beat(self, elapsed_seconds: float, text: str, see: str) -> None:
        """Two lines: the seconds since the command and what happened; below, where to see it."""
        first = Text(f"{elapsed_seconds:6.1f} s  ", style="cyan")
        first.append(text, style="default")
        self._print(first)
        self.console.print(Text(f"          {see}", style="dim blue"), soft_wrap=True)

    def _print(self, text: Text) -> None:
        self.console.print(text, no_wrap=True, overflow="ellipsis", crop=True)

    def save(self) -> None:
        """Write the picture, if one was asked for: SVG, or plain text for any other suffix."""
        if self._record is None:
            return
        if self._record.suffix == ".svg":
            self.console.save_svg(str(self._record), title="pronoia demo")
        else:
            self.console.save_text(str(self._record))
