"""Configuration: typed model, loading, checking."""

from sidecar.config.model import Config, QueryConfig

__all__ = ["Config", "QueryConfig"]
