"""Every error that pronoia raises on purpose, in one tree.

Facts travel as attributes, messages say place, value and need. Each error
carries a `reason` from a closed set, used as metric label and log field.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path


class SidecarError(Exception):
    """Root of pronoia's own errors; `reason` is a short, closed-set word."""

    reason: str = "internal"


class ConfigProblem(Exception):
    """One fault in a configuration: where it is, what is wrong, what is right."""

    def __init__(self, path: str, message: str) -> None:
        super().__init__(f"{path}: {message}")
        self.path = path
        self.message = message


class ConfigError(SidecarError):
    """A configuration that cannot be used; lists every problem at once."""

    reason = "config"

    def __init__(self, problems: list[ConfigProblem], source: str = "configuration") -> None:
        self.problems = problems
        self.source = source
        lines = "\n".join(f"  {problem.path}: {problem.message}" for problem in problems)
        count = f"{len(problems)} problem" + ("s" if len(problems) != 1 else "")
        super().__init__(f"{source}: {count}\n{lines}")


class PullReason(StrEnum):
    """Why a request to Prometheus or Alertmanager gave no usable answer."""

    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"
    UNAUTHORIZED = "unauthorized"
    BAD_QUERY = "bad_query"
    TOO_MANY_SERIES = "too_many_series"
    TOO_LARGE = "too_large"
    BAD_RESPONSE = "bad_response"
    SERVER_ERROR = "server_error"
    CIRCUIT_OPEN = "circuit_open"


class PullError(SidecarError):
    """A request to a source failed; `retryable` says whether waiting may help."""

    def __init__(self, reason: PullReason, message: str, *, retryable: bool = False) -> None:
        super().__init__(message)
        self.reason = reason.value
        self.retryable = retryable


class TooManySeries(PullError):
    """A query matched more series than its bound; names the query and the count."""

    def __init__(self, query: str, matched: int, limit: int) -> None:
        super().__init__(
            PullReason.TOO_MANY_SERIES,
            f"query {query!r} matched {matched} series, its limit is {limit}; "
            "aggregate it, narrow its selectors, or raise max_series",
        )
        self.query = query
        self.matched = matched
        self.limit = limit


class ModelError(SidecarError):
    """A detector, forecaster or saved model state cannot be used."""

    reason = "model"


class TableError(SidecarError):
    """A CSV file that cannot be used; `row` counts from 1, the header included, None: the whole file."""

    reason = "table"

    def __init__(self, path: Path, row: int | None, message: str) -> None:
        super().__init__(f"{path}: {message}" if row is None else f"{path}:{row}: {message}")
        self.path = path
        self.row = row


class StoreError(SidecarError):
    """The database cannot take or give data now; waiting may help."""

    reason = "store"


class StoreFull(StoreError):
    """No room for the write (disk or quota); nothing was stored."""

    reason = "store_full"


class PayloadError(SidecarError):
    """A body that no retry will make acceptable; answered with 4xx."""

    reason = "payload"


class RuleReason(StrEnum):
    """Why a generated rule is not live; the last two are findings, not failures."""

    CHECK_FAILED = "check_failed"
    NOT_WRITABLE = "not_writable"
    UNAUTHORIZED = "unauthorized"
    NOT_INSTALLED = "not_installed"
    NOT_OURS = "not_ours"
    CONFLICT = "conflict"
    HAND_EDITED = "hand_edited"
    UNREACHABLE = "unreachable"
    RELOAD_FAILED = "reload_failed"
    NOT_LOADED = "not_loaded"
    UNHEALTHY = "unhealthy"
    THIN_EVIDENCE = "thin_evidence"
    NOT_APPLICABLE = "not_applicable"


class RuleError(SidecarError):
    """A rule file that could not be published; the previous one is still in place."""

    def __init__(self, reason: RuleReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason.value


class KubernetesReason(StrEnum):
    """Why the Kubernetes API gave no usable answer."""

    OUTSIDE = "outside_cluster"
    ACCOUNT = "account"
    TLS = "tls"
    UNREACHABLE = "unreachable"
    REFUSED = "refused"
    FAILED = "failed"


class KubernetesError(SidecarError):
    """The Kubernetes API gave no usable answer, or refused, or what was asked of it failed."""

    def __init__(self, reason: KubernetesReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason.value
        self.retryable = reason in (KubernetesReason.ACCOUNT, KubernetesReason.UNREACHABLE)


class NotifyError(SidecarError):
    """A notification that was not delivered; `retryable` says whether to try again, and when."""

    reason = "notify"

    def __init__(self, message: str, *, retryable: bool, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.retryable = retryable
        self.retry_after_seconds = retry_after_seconds
