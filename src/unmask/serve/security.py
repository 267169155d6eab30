"""Who may ask what: names, origins, tokens, rates; and what answers tell a browser."""

import base64
import hashlib
import hmac
import re
import time
from collections import OrderedDict
from http.cookies import CookieError, SimpleCookie

from starlette.datastructures import Headers, MutableHeaders, QueryParams
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from unmask.serve.settings import Settings

COOKIE = "unmask"
# The page itself asks for the token; the rest tells nothing.
OPEN = frozenset({"/", "/app.js", "/style.css", "/healthz", "/readyz"})
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Cache-Control": "no-store",
}
_INLINE = re.compile(r"<(script|style)\b[^>]*>(.*?)</\1\s*>", re.S | re.I)


def report_policy(html: str) -> str:
    """A policy for a self-contained page: its own scripts and styles, and nothing from outside.

    The page is put in a sandbox, apart from the application: whatever went wrong in it could
    not use the API.
    """
    hashes: dict[str, list[str]] = {"script": [], "style": []}
    for tag, text in _INLINE.findall(html):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        hashes[tag.lower()].append(f"'sha256-{digest}'")
    allowed = {tag: " ".join(found) or "'none'" for tag, found in hashes.items()}
    return "; ".join(
        (
            "sandbox allow-scripts allow-downloads",
            "default-src 'none'",
            f"script-src {allowed['script']}",
            f"style-src {allowed['style']}",
            "img-src data:",
            "media-src 'self' data:",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    )


def cookie_of(token: str) -> str:
    """What a browser keeps in place of the token."""
    return hmac.new(token.encode(), b"cookie", hashlib.sha256).hexdigest()


def key_of(token: str | None, job: str) -> str:
    """What opens the video of a job without the token, which its report, in a sandbox, lacks."""
    return hmac.new((token or "").encode(), f"video {job}".encode(), hashlib.sha256).hexdigest()


class Rate:
    """So many requests of each client: a bucket that fills again.

    Args:
        burst: requests at once.
        rate: requests a second.
    """

    _CLIENTS = 4096

    def __init__(self, burst: float = 600, rate: float = 20) -> None:
        self._burst, self._rate = burst, rate
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, client: str, cost: float = 1) -> bool:
        """Whether a client may ask once more."""
        now = time.monotonic()
        left, then = self._buckets.pop(client, (self._burst, now))
        left = min(self._burst, left + (now - then) * self._rate)
        allowed = left >= 1
        self._buckets[client] = (max(0, left - cost) if allowed else left, now)
        if len(self._buckets) > self._CLIENTS:
            self._buckets.popitem(last=False)
        return allowed


class Guard:
    """Stands before the application: refuses, or lets through and adds headers."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app, self._settings = app, settings
        self._rate = Rate()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI has it."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        refusal = self._refusal(scope, Headers(scope=scope))
        return await (refusal or self._app)(scope, receive, send_with_headers)

    def _refusal(self, scope: Scope, headers: Headers) -> JSONResponse | None:
        host = headers.get("host", "").lower()
        if re.sub(r":\d*$", "", host) not in self._settings.hosts:
            return _refuse(400, "this server is not known by that name (--allow-host)")
        client = scope["client"][0] if scope.get("client") else ""
        if not self._rate.take(client):
            return _refuse(429, "too many requests", {"Retry-After": "10"})
        if scope["method"] not in _SAFE and _is_foreign(headers, host):
            return _refuse(403, "a request of another site")
        if not (scope["path"] in OPEN or self._has_key(scope) or self._knows_token(headers)):
            self._rate.take(client, 30)  # guessing is slow
            return _refuse(401, "the token is missing or wrong", {"WWW-Authenticate": "Bearer"})
        return None

    def _has_key(self, scope: Scope) -> bool:
        video = re.fullmatch(r"/api/jobs/([0-9a-f]{32})/video", scope["path"])
        if video is None or self._settings.token is None:
            return False
        given = QueryParams(scope["query_string"]).get("key", "")
        return hmac.compare_digest(given.encode(), key_of(self._settings.token, video[1]).encode())

    def _knows_token(self, headers: Headers) -> bool:
        token = self._settings.token
        if token is None:
            return True
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return hmac.compare_digest(given.strip().encode("latin-1"), token.encode())
        try:
            morsel = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
        except CookieError:
            return False
        kept = morsel.value if morsel is not None else ""
        return hmac.compare_digest(kept.encode("latin-1"), cookie_of(token).encode())


def _is_foreign(headers: Headers, host: str) -> bool:
    """Whether a browser sends this for another site than ours."""
    origin = headers.get("origin")
    if origin is not None and origin.partition("://")[2].lower() != host:
        return True
    return headers.get("sec-fetch-site", "none") not in ("same-origin", "none")


def _refuse(status: int, why: str, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"detail": why}, status, headers)
