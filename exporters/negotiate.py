"""Which format and encoding a scraper prefers, by its Accept headers (RFC 9110, section 12.5)."""

from __future__ import annotations


def _weights(header: str) -> list[tuple[str, dict[str, str], float]]:
    found = []
    for item in header.split(","):
        name, *parameters = (part.strip() for part in item.split(";"))
        settings = dict(p.split("=", 1) for p in parameters if "=" in p)
        try:
            weight = float(settings.get("q", "1"))
        except ValueError:
            weight = 0.0
        if name:
            found.append((name.lower(), settings, weight))
    return found


def wants_openmetrics(accept: str) -> bool:
    """True where OpenMetrics 1.0 is accepted at least as gladly as the text format.

    >>> wants_openmetrics("application/openmetrics-text;version=1.0.0,text/plain;q=0.5")
    True
    """
    openmetrics = text = 0.0
    for name, settings, weight in _weights(accept):
        if name == "application/openmetrics-text" and settings.get("version", "1.0.0").startswith("1."):
            openmetrics = max(openmetrics, weight)
        elif name in ("text/plain", "text/*", "*/*"):
            text = max(text, weight)
    return openmetrics > 0 and openmetrics >= text


def wants_gzip(accept_encoding: str) -> bool:
    """True where gzip is accepted, and not forbidden with q=0."""
    weights = {name: weight for name, _, weight in _weights(accept_encoding)}
    # The named encoding outranks the wildcard: "gzip;q=0, *" forbids gzip.
    return weights.get("gzip", weights.get("*", 0.0)) > 0
