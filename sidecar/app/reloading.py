"""What a reload tells: whether it succeeded, and what of it waits for the next start."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Gauge

from sidecar.config.model import Config

NEED_RESTART = ("server", "store", "webhook", "notify", "export", "log")
RESPONSE_NEEDS_RESTART = ("link_secret", "silences", "synthetic", "hooks", "kubernetes")


class ReloadMetrics:
    """The outcome of the last reading of the configuration."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._successful = Gauge(
            "pronoia_config_last_reload_successful",
            "1 if the last reading of the configuration succeeded.",
            registry=registry,
        )
        self._at = Gauge(
            "pronoia_config_last_reload_success_timestamp_seconds",
            "Time of the last successful reading of the configuration.",
            registry=registry,
        )

    def succeeded(self, now: float) -> None:
        """The configuration was read, and is used."""
        self._successful.set(1)
        self._at.set(now)

    def failed(self) -> None:
        """The configuration could not be used."""
        self._successful.set(0)


def waits_for_restart(before: Config, after: Config) -> list[str]:
    """Sections that differ and take effect at the next start only."""
    return [
        *(name for name in NEED_RESTART if getattr(before, name) != getattr(after, name)),
        *(
            f"response.{name}"
            for name in RESPONSE_NEEDS_RESTART
            if getattr(before.response, name) != getattr(after.response, name)
        ),
    ]
