"""A file beside the database, for what it did not take before the process had to end."""

from __future__ import annotations

from pathlib import Path

import msgspec

from sidecar.durable import replace_file
from sidecar.records import Response, TimelineEntry
from sidecar.telemetry import get_logger

FILE = "timeline-waiting.json"


class Spared(msgspec.Struct):
    """Responses as they were left, and entries of timelines."""

    responses: list[Response] = []
    entries: list[TimelineEntry] = []


class SpareFile:
    """One such file; its calls block."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE

    def put(self, waiting: Spared) -> None:
        """Write it, with what an earlier process left there. Raises: OSError."""
        before = self.get() or Spared()
        both = Spared([*before.responses, *waiting.responses], [*before.entries, *waiting.entries])
        replace_file(self._path, lambda file: file.write(msgspec.json.encode(both)))

    def get(self) -> Spared | None:
        """What it holds; None where there is none, or one that cannot be read, which is said and left."""
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=Spared)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.DecodeError) as error:
            get_logger("desk").error("what waits of timelines cannot be read", file=FILE, err=str(error))
            return None

    def clear(self) -> None:
        """It is stored."""
        self._path.unlink(missing_ok=True)
