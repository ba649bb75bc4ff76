"""Who asks, and whether they may: users of the API, their rights, and requests of other sites' pages."""

from __future__ import annotations

import hmac
from base64 import b64decode

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from sidecar.config.access import AccessConfig, Right, UserConfig
from sidecar.config.load import read_secret
from webhooks.respond.http import ACTOR

RIGHTS: tuple[Right, ...] = ("nothing", "read", "act", "manage")
PROBES = frozenset({"/-/healthy", "/-/ready"})
SCRAPES = frozenset({"/metrics", "/synthetic"})


def authentication(access: AccessConfig, *, own_proof: frozenset[str]) -> Middleware:
    """The middleware that lets a request through, or answers 401, 403 or (credentials not readable) 503.

    `own_proof`: the routes, as registered, that check their senders by themselves.
    """

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        resource = request.match_info.route.resource
        if request.method not in ("GET", "HEAD") and request.headers.get("Sec-Fetch-Site") in (
            "cross-site",
            "same-site",
        ):
            # A browser says so by itself: a page elsewhere may not spend its reader's rights, nor the place
            # that the reader has in our network, where senders prove nothing.
            raise web.HTTPForbidden(reason="requests of other sites' pages are refused")
        if resource is None or resource.canonical in own_proof | PROBES:
            return await handler(request)
        if resource.canonical in SCRAPES and access.open_metrics:
            return await handler(request)
        try:
            user = user_of(access.users, request.headers.get("Authorization", ""))
        except OSError as error:
            raise web.HTTPServiceUnavailable(reason="a credentials file cannot be read") from error
        if user is not None:
            request[ACTOR] = user.name
        right: Right = access.of_anonymous if user is None else user.may
        needed = right_for(request.method, request.path)
        if RIGHTS.index(right) >= RIGHTS.index(needed):
            return await handler(request)
        if user is not None:
            raise web.HTTPForbidden(reason=f"user {user.name} may {right}, this takes the right to {needed}")
        raise web.HTTPUnauthorized(
            reason="wrong or missing credentials", headers={"WWW-Authenticate": 'Basic realm="pronoia"'}
        )

    return check


def right_for(method: str, path: str) -> Right:
    """What a request takes.

    >>> right_for("GET", "/api/v1/incidents"), right_for("POST", "/api/v1/feedback")
    ('read', 'act')
    >>> right_for("PUT", "/-/quit")
    'manage'
    """
    if method in ("GET", "HEAD", "OPTIONS"):
        return "read"
    return "manage" if path.startswith("/-/") else "act"


def user_of(users: tuple[UserConfig, ...], authorization: str) -> UserConfig | None:
    """Whose credentials an Authorization header shows; None where they are nobody's.

    Every user is compared, however early one matches, so that time tells nothing.
    Raises: OSError where a credentials file cannot be read.
    """
    scheme, _, shown = authorization.partition(" ")
    basic = _decoded(shown) if scheme.lower() == "basic" else ""
    found = None
    for user in users:
        token = read_secret(user.bearer_token, user.bearer_token_file)
        if token is None:
            secret = read_secret(user.password, user.password_file) or ""
            same = _same(basic, f"{user.name}:{secret}")
        else:
            secret = token
            same = scheme.lower() == "bearer" and _same(shown, token)
        if same and secret.strip():  # A file that is not filled yet lets nobody in.
            found = user
    return found


def _decoded(shown: str) -> str:
    try:
        return b64decode(shown, validate=True).decode()
    except ValueError:
        return ""


def _same(one: str, other: str) -> bool:
    # Header bytes that are no UTF-8 arrive as surrogates; they are wrong credentials, not our fault.
    return hmac.compare_digest(one.encode(errors="surrogateescape"), other.encode())
