"""Says once that a secret of ours cannot be read, and once that it can again: senders ask by the second."""

from __future__ import annotations

from sidecar.telemetry import get_logger


class SecretLog:
    """What one endpoint says of its secrets, each by a name for people."""

    def __init__(self, component: str) -> None:
        self._log = get_logger(component)
        self._unreadable: set[str] = set()

    def unreadable(self, name: str, error: OSError) -> None:
        """This one could not be read."""
        if name not in self._unreadable:
            self._unreadable.add(name)
            self._log.error("secret cannot be read, its senders are refused", of=name, err=str(error))

    def read(self, name: str) -> None:
        """This one was."""
        if name in self._unreadable:
            self._unreadable.discard(name)
            self._log.info("secret can be read again", of=name)
