"""One HTTP session to one server: credentials, TLS, retries, breaker, bounds, and its metrics."""

from __future__ import annotations

import asyncio
import email.utils
import ipaddress
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import aiohttp
import msgspec
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, wait_exponential_jitter

from sidecar.bodies import read_up_to
from sidecar.config.fields import header_value
from sidecar.config.http import HttpConfig
from sidecar.config.load import read_secret
from sidecar.errors import PullError, PullReason
from sidecar.prometheus.breaker import Breaker
from sidecar.prometheus.tls import renewed_context
from sidecar.telemetry import redact_url

ERROR_BODY_BYTES = 2000
CREDENTIALS = "credentials are given as http.basic_auth or http.bearer_token_file"
WEB_PAGE = "as a web page: is it the address of an API, less its path?"
READ_BYTES = 1 << 20
AT_ONCE_SECONDS = 5.0
"""So long the tries of one request take; a server that asks for more is left alone."""

LONGEST_REST_SECONDS = 300.0
"""What asks for more may be a proxy in maintenance that is back sooner."""

MAX_ANSWER_BYTES = 256 << 20
"""Of servers that answer with no samples: a hundred thousand alerts or rules are less."""


class PullMetrics:
    """What is told of requests to sources; one instance serves every session of a process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.duration = Histogram(
            "pronoia_pull_duration_seconds",
            "Requests to Prometheus or Alertmanager, from sending to the whole answer.",
            ["api"],
            registry=registry,
            buckets=(0.005, 0.02, 0.1, 0.5, 1, 2.5, 5, 10, 30),
        )
        self.samples = Counter("pronoia_pull_samples_total", "Samples decoded.", registry=registry)
        self.bytes = Counter(
            "pronoia_pull_received_bytes_total", "Bytes of answers, decompressed.", registry=registry
        )
        self.errors = Counter(
            "pronoia_pull_errors_total", "Requests without a usable answer.", ["reason"], registry=registry
        )
        for reason in PullReason:
            self.errors.labels(reason.value)
        self.retries = Counter("pronoia_pull_retries_total", "Requests tried again.", registry=registry)
        self.circuit_open = Gauge(
            "pronoia_pull_circuit_open",
            "1 while a failing server is left alone.",
            ["server"],
            registry=registry,
        )
        self.dropped = Counter(
            "pronoia_pull_dropped_samples_total",
            "Samples that cannot be used, by what they are.",
            ["kind"],
            registry=registry,
        )
        for kind in ("infinite", "histogram"):
            self.dropped.labels(kind)

    @contextmanager
    def counting_errors(self, *, if_retryable: bool = False) -> Iterator[None]:
        """Counts the PullError that leaves the block, by its reason; `if_retryable`: one that may pass."""
        try:
            yield
        except PullError as error:
            if error.retryable or not if_retryable:
                self.errors.labels(error.reason).inc()
            raise


@dataclass(frozen=True)
class SessionSettings:
    """What a session needs to know of its server."""

    url: str
    http: HttpConfig
    timeout_seconds: float
    retries: int
    max_concurrent: int
    breaker_failures: int
    breaker_cooldown_seconds: float
    compression: str = "auto"
    tenant: str | None = None
    max_answer_bytes: int = MAX_ANSWER_BYTES
    if_larger: str = "it is not read further"
    """What to do about an answer beyond the bound: the end of the error's words."""


class Session:
    """Requests to one server. Open it on the event loop that uses it (`async with`)."""

    def __init__(
        self,
        settings: SessionSettings,
        metrics: PullMetrics,
        *,
        on_server_time: Callable[[float], None] = lambda _: None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.settings = settings
        self._metrics = metrics
        self._on_server_time = on_server_time
        self._monotonic = monotonic
        self._breaker = Breaker(settings.breaker_failures, settings.breaker_cooldown_seconds, monotonic)
        self._slots = asyncio.Semaphore(settings.max_concurrent)
        self._is_open = False
        self._session: aiohttp.ClientSession | None = None
        self._name = redact_url(settings.url)
        self._failure = self._name
        self._is_https = settings.url.startswith("https")
        self._tls = renewed_context(settings.http.tls)
        """Files that come later, or are renewed, count from the next request on."""
        self._accept = "identity" if _is_local(settings) else "gzip"

    async def __aenter__(self) -> Self:
        self._is_open = True
        return self

    def _opened(self) -> aiohttp.ClientSession:
        """The connections, made when they are first asked for."""
        if self._session is not None:
            return self._session
        timeout = aiohttp.ClientTimeout(
            total=self.settings.timeout_seconds, sock_connect=min(self.settings.timeout_seconds, 10.0)
        )
        self._session = aiohttp.ClientSession(timeout=timeout, read_bufsize=READ_BYTES)
        return self._session

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_open = False
        # After a reload another address may be asked: nobody would ever say of this one that it is well.
        self._metrics.circuit_open.remove(self._name)
        if self._session is not None:
            await self._session.close()

    async def fetch(
        self,
        method: str,
        path: str,
        *,
        api: str,
        form: list[tuple[str, str]] | None = None,
        params: list[tuple[str, str]] | None = None,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        retry: bool = True,
        unless: Callable[[PullError], bool] = lambda _: False,
        offered: bool = True,
    ) -> bytes:
        """The whole body of a 2xx answer. `unless`: errors that the same request would meet again.

        `offered` False: the server need not have it, so its refusal is told and not counted.
        Raises: PullError after the configured retries, at once where retrying cannot help.
        """
        attempts = self.settings.retries + 1 if retry else 1
        retrying = AsyncRetrying(
            stop=stop_after_attempt(attempts),
            wait=wait_exponential_jitter(multiplier=0.2, max=AT_ONCE_SECONDS, jitter=0.5),
            retry=retry_if_exception(
                lambda error: (
                    isinstance(error, PullError)
                    and error.retryable
                    and not self._breaker.open
                    and not unless(error)
                )
            ),
            before_sleep=lambda _: self._metrics.retries.inc(),
            reraise=True,
        )
        with self._metrics.counting_errors(if_retryable=not offered):
            async for attempt in retrying:
                with attempt:
                    async with self.stream(
                        method, path, api=api, form=form, params=params, body=body, headers=headers
                    ) as response:
                        data = b"".join([piece async for piece in self.pieces(response)])
                        self._metrics.bytes.inc(len(data))
                        return data
        raise AssertionError("unreachable: tenacity returns or raises")

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        path: str,
        *,
        api: str,
        form: list[tuple[str, str]] | None = None,
        params: list[tuple[str, str]] | None = None,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """A 2xx answer whose body is still to be read; one try.

        Raises: PullError.
        """
        if not self._is_open:
            raise RuntimeError("the session is not open")
        if not self._breaker.allow():
            raise PullError(
                PullReason.CIRCUIT_OPEN,
                f"{self._failure} (failed repeatedly, is tried every "
                f"{self.settings.breaker_cooldown_seconds:g} s)",
                retryable=True,
            )
        async with self._slots:
            began = self._monotonic()
            try:
                async with self._opened().request(
                    method,
                    self.settings.url + path,
                    data=body if body is not None else (aiohttp.FormData(form) if form else None),
                    params=params,
                    headers={**self._headers(), **(headers or {})},
                    allow_redirects=False,
                    ssl=self._tls.get() if self._is_https else True,
                    server_hostname=self.settings.http.tls.server_name,
                ) as response:
                    self._note_time(response)
                    if response.status // 100 != 2:
                        raise await self._refusal(response, path)
                    if response.content_type == "text/html" and "/api/" in path:
                        words = f"{self._name}{path}: answers {WEB_PAGE}"
                        raise PullError(PullReason.BAD_RESPONSE, words)
                    self._check_size(response.content_length or 0, path)
                    yield response
                self._settle(failure=None)
            except PullError as error:
                self._settle(failure=str(error) if error.retryable else None)
                raise
            except TimeoutError as error:
                words = f"{self._name}{path}: no answer within {self.settings.timeout_seconds:g} s"
                self._settle(failure=words)
                raise PullError(PullReason.TIMEOUT, words, retryable=True) from error
            except (aiohttp.ClientError, ssl.SSLError, OSError) as error:
                words = f"{self._name}{path}: {_words(error)}"
                self._settle(failure=words)
                raise PullError(PullReason.UNREACHABLE, words, retryable=True) from error
            finally:
                self._metrics.duration.labels(api).observe(self._monotonic() - began)

    async def pieces(self, response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
        """The body of a streamed answer as it arrives, unpacked.

        Raises: PullError where it is larger than the bound; what was read of it is less.
        """
        n_bytes = 0
        async for piece in response.content.iter_any():
            n_bytes += len(piece)
            self._check_size(n_bytes, response.url.raw_path)
            yield piece

    def _check_size(self, n_bytes: int, path: str) -> None:
        most = self.settings.max_answer_bytes
        if n_bytes > most:
            words = f"{self._name}{path}: the answer is larger than {most} bytes; {self.settings.if_larger}"
            raise PullError(PullReason.TOO_LARGE, words)

    def _settle(self, *, failure: str | None) -> None:
        """Let the breaker know; its own refusals say what the server's failure was."""
        if failure is None:
            self._breaker.succeeded()
        else:
            self._failure = failure
            self._breaker.failed()
        self._metrics.circuit_open.labels(self._name).set(float(self._breaker.open))

    def _headers(self) -> dict[str, str]:
        http = self.settings.http
        headers = {"Accept-Encoding": self._accept, "User-Agent": "pronoia", **http.headers}
        if self.settings.tenant:
            headers["X-Scope-OrgID"] = self.settings.tenant
        try:
            if http.basic_auth is not None:
                password = read_secret(http.basic_auth.password, http.basic_auth.password_file) or ""
                headers["Authorization"] = aiohttp.encode_basic_auth(http.basic_auth.username, password)
            else:
                token = read_secret(http.bearer_token, http.bearer_token_file)
                if token is not None:
                    headers["Authorization"] = header_value(f"Bearer {token}")
        except OSError as error:
            words = f"credentials cannot be read: {error.filename}: {error.strerror}"
            raise PullError(PullReason.UNAUTHORIZED, words) from error
        except ValueError as error:
            words = f"credentials cannot be sent: {http.bearer_token_file or 'what is configured'} {error}"
            raise PullError(PullReason.UNAUTHORIZED, words) from error
        return headers

    def _note_time(self, response: aiohttp.ClientResponse) -> None:
        try:
            date = email.utils.parsedate_to_datetime(response.headers.get("Date", ""))
        except (ValueError, OverflowError):
            return
        # The header is in UTC, said or not, and has whole seconds: on average it is half a second later.
        self._on_server_time(date.replace(tzinfo=date.tzinfo or UTC).timestamp() + 0.5)

    async def _refusal(self, response: aiohttp.ClientResponse, path: str) -> PullError:
        text = (await read_up_to(response.content, ERROR_BODY_BYTES)).decode(errors="replace")
        status = response.status
        if response.content_type == "text/html":
            text = f"{response.reason or ''}, {WEB_PAGE}"
        if 300 <= status < 400:
            # Less the query, which may hold a token.
            place = response.headers.get("Location", "").partition("?")[0].partition("#")[0]
            text = f"redirects to {redact_url(place)}, which is not followed; is there a login before it?"
        said = _on_a_line(_error_of(text))[:300].removeprefix(f"{status} ")
        words = f"{self._name}{path}: {status} {said}"
        if status in (401, 403):
            return PullError(PullReason.UNAUTHORIZED, f"{words}; {CREDENTIALS}")
        if status in (400, 404, 405, 413, 422) or 300 <= status < 400:
            return PullError(PullReason.BAD_QUERY, words)
        if (rest := _rest_seconds(response.headers.get("Retry-After", ""))) > AT_ONCE_SECONDS:
            self._breaker.rest(rest)
        return PullError(PullReason.SERVER_ERROR, words, retryable=status in (429, 500, 502, 503, 504))


class _Refused(msgspec.Struct):
    """What the APIs of Prometheus and its kin say beside a status that is not 2xx."""

    error: str
    errorType: str = ""


def _error_of(text: str) -> str:
    """The server's own words, where its body has them as Prometheus' does."""
    try:
        refused = msgspec.json.decode(text, type=_Refused)
    except (msgspec.DecodeError, RecursionError):
        return text
    return f"{refused.errorType}: {refused.error}" if refused.errorType else refused.error


def _on_a_line(text: str) -> str:
    """The text without breaks, and without what a terminal would obey."""
    return "".join(filter(str.isprintable, " ".join(text.split())))


def _rest_seconds(retry_after: str) -> float:
    """For how long a server asks to be left alone, within bounds; 0 where it does not say it in seconds."""
    return min(float(retry_after), LONGEST_REST_SECONDS) if retry_after.isdecimal() else 0.0


def _words(error: BaseException) -> str:
    if isinstance(error, aiohttp.ClientConnectorError) and isinstance(error.os_error, ConnectionRefusedError):
        return "connection refused"
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        words = getattr(error.certificate_error, "verify_message", "") or str(error.certificate_error)
        return f"its certificate is not trusted ({words}); name its authority as http.tls.ca_file"
    if isinstance(error, aiohttp.ClientConnectorSSLError) and "WRONG_VERSION_NUMBER" in str(error):
        return "speaks no TLS there; write http:// in place of https://"
    return redact_url(" ".join(str(error).split()) or type(error).__name__)[:300]


def _is_local(settings: SessionSettings) -> bool:
    """gzip costs the server three times the answer itself, so on a near link it is not asked for."""
    if settings.compression != "auto":
        return settings.compression == "identity"
    host = urlsplit(settings.url).hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:
        return "." not in host  # A bare name is a service of the same cluster or compose file.
