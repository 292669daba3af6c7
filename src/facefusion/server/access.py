"""Who asks, and what they may: keys, tokens of a provider, and the cookie of the page."""

from __future__ import annotations

import hashlib
import hmac
import logging
import math
import re
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal, get_args

import jwt
from fastapi import Depends, Request
from fastapi.security import APIKeyCookie, HTTPBearer
from fastapi.security.http import HTTPAuthorizationCredentials
from starlette.concurrency import run_in_threadpool

from facefusion.documents import reason_of
from facefusion.errors import AccessRefused, Conflict, NotThere, RecipeError, ScopeMissing, ServiceError
from facefusion.jobs.ledger import Key, Ledger
from facefusion.packed import pack, unpack
from facefusion.server.config import Oidc
from facefusion.wording import in_one_line, without_secrets

Scope = Literal["assets:read", "assets:write", "jobs:read", "jobs:write", "admin"]
SCOPES: tuple[str, ...] = get_args(Scope)
_HOLDS = {"assets:write": ("assets:read",), "jobs:write": ("jobs:read",), "admin": SCOPES}
LOCAL_TENANT = "local"
"""Whose everything is that comes from the page of this machine."""
COOKIE = "facefusion_session"
SESSION_S = 12 * 3600.0
PREFIX = "ff_"
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
_TENANT = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_USED_EVERY_S = 60.0
KNOWN_S = 1.0
"""Whoever was let in is known again for so long without a look into the store, where another process may end a key."""
_KNOWN_AT_ONCE = 4096
ASKED_EVERY_S = 30.0
"""A provider's keys are not asked for more often because of tokens with ids that nobody knows."""
_log = logging.getLogger("facefusion.server")
_REFUSED = "Send Authorization: Bearer KEY with a key of 'facefusion keys create'."


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks.

    Attributes
    ----------
    tenant
        Whose things may be seen.
    who
        In the log of deeds: the id of a key, or the subject of a token.
    scopes
        What is allowed, with all that is held by it.
    by_cookie
        Whether a browser sends it by itself.
    """

    tenant: str
    who: str
    scopes: frozenset[str]
    by_cookie: bool = False


@dataclass(frozen=True, slots=True)
class KeyView:
    """A key, as it is told about.

    Attributes
    ----------
    id, tenant, scopes, note
        Which, and what it opens.
    status
        ``valid``, ``expired`` or ``revoked``.
    created_at, expires_at, used_at
        Seconds since 1970; None for never.
    key
        The key itself, when it was just made; it is kept nowhere.
    """

    id: str
    tenant: str
    scopes: tuple[str, ...]
    note: str
    status: str
    created_at: float
    expires_at: float | None
    used_at: float | None
    key: str = ""

    @classmethod
    def of(cls, key: Key, now: float, secret: str = "") -> KeyView:
        """What is told of a key at a time."""
        status = "revoked" if key.revoked_at is not None else "valid" if key.is_valid(now) else "expired"
        return cls(
            key.id, key.tenant, key.scopes, key.note, status, key.created_at, key.expires_at, key.used_at, secret
        )

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        told = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "key"}
        return {**told, "scopes": list(self.scopes), **({"key": self.key} if self.key else {})}


@dataclass(frozen=True, slots=True)
class KeyList:
    """Keys of a service."""

    keys: tuple[KeyView, ...]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"keys": [key.as_dict() for key in self.keys]}


def check_tenant(name: str) -> str:
    """Refuse what is no name of a tenant.

    Raises
    ------
    RecipeError
    """
    if not _TENANT.fullmatch(name):
        raise RecipeError(
            f"{name!r} is no name of a tenant.", "Up to 63 lower-case letters, digits, dots, hyphens and underscores."
        )
    return name


def check_scopes(scopes: Sequence[str]) -> tuple[str, ...]:
    """Refuse scopes that there are not.

    Raises
    ------
    RecipeError
    """
    for scope in scopes:
        if scope not in SCOPES:
            raise RecipeError(f"There is no scope '{scope}'.", f"Known: {', '.join(SCOPES)}.")
    if not scopes:
        raise RecipeError("A key without scopes opens nothing.", f"Known: {', '.join(SCOPES)}.")
    return tuple(dict.fromkeys(scopes))


def spread(scopes: Sequence[str]) -> frozenset[str]:
    """Scopes with those that they hold."""
    return frozenset({*scopes, *(inner for scope in scopes for inner in _HOLDS.get(scope, ()))} & {*SCOPES})


def digest_of(key: str) -> str:
    """What is kept of a key. It is random and long, so one round of SHA-256 is as good as many."""
    return hashlib.sha256(key.encode()).hexdigest()


def create_key(
    ledger: Ledger, tenant: str, scopes: Sequence[str], expires_in_s: float | None = None, note: str = ""
) -> tuple[Key, str]:
    """Make a key.

    Parameters
    ----------
    ledger
        Where its hash is kept.
    tenant, scopes
        What it opens.
    expires_in_s
        Seconds that it is valid; None for ever.
    note
        What it is for.

    Returns
    -------
    What is known of it, and the key itself, which nobody can find out again.
    """
    now = ledger.now()
    made = Key(
        secrets.token_hex(6), check_tenant(tenant), check_scopes(scopes), note, now,
        None if expires_in_s is None else now + expires_in_s,
    )  # fmt: skip
    secret = f"{PREFIX}{made.id}_{secrets.token_urlsafe(32)}"
    ledger.add_key(made, digest_of(secret))
    return made, secret


def find_key(ledger: Ledger, key_id: str) -> Key:
    """A key by its id.

    Raises
    ------
    NotThere
    """
    found = next((key for key in ledger.list_keys() if key.id == key_id), None)
    if found is None:
        raise NotThere(f"There is no key {key_id}.", "See 'facefusion keys list'.")
    return found


def rotate_key(ledger: Ledger, key_id: str, grace_s: float = 0.0) -> tuple[Key, str]:
    """A new key in place of one that is valid, which ends now or after some seconds.

    Raises
    ------
    NotThere
    Conflict
        When it was revoked or has expired: who has lost a key gets none by asking for another in its place.
    """
    old = find_key(ledger, key_id)
    now = ledger.now()
    if not old.is_valid(now):
        raise Conflict(
            f"Key {key_id} {_ended(old)}, so there is nothing to rotate.",
            "Make a new one where that is meant: facefusion keys create.",
        )
    left_s = None if old.expires_at is None else max(old.expires_at - old.created_at, 1.0)
    made = create_key(ledger, old.tenant, old.scopes, left_s, old.note)
    if grace_s:
        ends = now + grace_s if old.expires_at is None else min(old.expires_at, now + grace_s)
        ledger.change_key(key_id, expires_at=ends)
    else:
        ledger.change_key(key_id, revoked_at=now)
    return made


class Gate:
    """Tells who asks.

    Parameters
    ----------
    ledger
        Keys.
    is_local
        Whether the page of this machine gets a session by itself.
    oidc
        Whose tokens are accepted besides keys.
    """

    def __init__(self, ledger: Ledger, is_local: bool, oidc: Oidc | None = None) -> None:
        self._ledger, self.is_local = ledger, is_local
        self._secret = secrets.token_bytes(32)  # of this start
        self._tokens = None if oidc is None else _Tokens(oidc)
        self._known: dict[bytes, tuple[float, int, Principal]] = {}

    def recall(self, bearer: str, cookie: str) -> Principal | None:
        """Who came with these words a moment ago, by `admit`; None where that is not known any more."""
        until, changes, principal = self._known.get(_mark(bearer, cookie), (0.0, 0, None))
        return principal if time.monotonic() < until and changes == self._ledger.key_changes else None

    def admit(self, bearer: str, cookie: str) -> Principal:
        """Who comes with these words, kept in mind for `KNOWN_S` or until a key is changed by this process.

        Raises
        ------
        AccessRefused
        """
        changes = self._ledger.key_changes  # before the look: what changes meanwhile counts
        principal = self.identify(bearer, cookie)
        if len(self._known) >= _KNOWN_AT_ONCE:
            self._known = {}
        self._known[_mark(bearer, cookie)] = time.monotonic() + KNOWN_S, changes, principal
        return principal

    def identify(self, bearer: str, cookie: str) -> Principal:
        """Who comes with these words.

        Raises
        ------
        AccessRefused
        """
        if bearer.startswith(PREFIX):
            return self._of_key(bearer)
        if bearer.startswith("local."):
            return replace(self._of_cookie(bearer), by_cookie=False)
        if bearer:
            if self._tokens is None:
                raise AccessRefused("This is no key of this service.", _REFUSED)
            return self._tokens.read(bearer)
        if cookie:
            return self._of_cookie(cookie)
        raise AccessRefused("There is no key with this request.", _REFUSED)

    def _of_key(self, secret: str) -> Principal:
        key = self._ledger.find_key(digest_of(secret))
        if key is None:
            raise AccessRefused("This is no key of this service.", _REFUSED)
        return self._of_valid(key)

    def _of_valid(self, key: Key, by_cookie: bool = False) -> Principal:
        now = self._ledger.now()
        if not key.is_valid(now):
            raise AccessRefused(f"Key {key.id} {_ended(key)}.", "Ask for a new one.")
        if key.used_at is None or now - key.used_at > _USED_EVERY_S:
            self._ledger.change_key(key.id, used_at=now)
        return Principal(key.tenant, f"key {key.id}", spread(key.scopes), by_cookie)

    def local_cookie(self) -> str:
        """A session of the page on this machine."""
        return self._sign("local", LOCAL_TENANT, self._secret)

    def key_cookie(self, secret: str) -> tuple[Principal, str]:
        """A session in place of a key, good on every service with the same store as long as the key is.

        Raises
        ------
        AccessRefused
        """
        principal = self._of_key(secret)
        key_id = principal.who.removeprefix("key ")
        return principal, self._sign("key", f"{key_id}:{digest_of(secret)[:16]}", _cookie_secret(digest_of(secret)))

    @staticmethod
    def _sign(kind: str, whose: str, secret: bytes) -> str:
        body = pack(time.time() + SESSION_S, whose)
        return f"{kind}.{body}.{hmac.new(secret, f'{kind}.{body}'.encode(), 'sha256').hexdigest()}"

    def _of_cookie(self, cookie: str) -> Principal:
        refused = AccessRefused("This session is over.", "Load the page again.")
        try:
            kind, body, mark = cookie.split(".")
            until, whose = unpack(body)
        except ValueError as error:
            raise refused from error
        key = None
        if kind == "local" and self.is_local:
            secret = self._secret
        elif kind == "key":
            key, digest = self._ledger.find_key_by_id(whose.partition(":")[0])
            if key is None:
                raise refused
            secret = _cookie_secret(digest)
        else:
            raise refused
        expected = hmac.new(secret, f"{kind}.{body}".encode(), "sha256").hexdigest()
        if not hmac.compare_digest(mark.encode(), expected.encode()) or time.time() > until:
            raise refused
        if key is not None:
            return self._of_valid(key, by_cookie=True)
        return Principal(LOCAL_TENANT, "page", spread(["admin"]), by_cookie=True)


def _ended(key: Key) -> str:
    return "was revoked" if key.revoked_at is not None else "has expired"


def _mark(bearer: str, cookie: str) -> bytes:
    """What somebody came with, by its hash: no secret is kept."""
    return hashlib.sha256(f"{bearer}\0{cookie}".encode()).digest()


def _cookie_secret(digest: str) -> bytes:
    return hashlib.sha256(f"session {digest}".encode()).digest()


KEY_SET_ERRORS = (jwt.PyJWTError, OSError, ValueError, TypeError, AttributeError, KeyError, RecursionError)
"""What reading a set of public keys raises, whatever is wrong with it."""


def load_key_set(path: str) -> Sequence[Any]:
    """Public keys of a file; raises one of `KEY_SET_ERRORS` where it holds none."""
    keys: Sequence[Any] = jwt.PyJWKSet.from_json(Path(path).read_text(encoding="utf-8")).keys
    return keys


class _Tokens:
    """JSON Web Tokens of a provider."""

    def __init__(self, oidc: Oidc) -> None:
        self._oidc = oidc
        self._client: Any = None
        self._asked_at = -math.inf
        if oidc.jwks.startswith("https://"):
            self._client = jwt.PyJWKClient(oidc.jwks, timeout=10)

    def _key(self, token: str) -> Any:
        header = jwt.get_unverified_header(token)
        if header.get("alg") not in self._oidc.algorithms:
            raise jwt.InvalidAlgorithmError("it is signed by an algorithm that is not accepted")
        wanted = header.get("kid")
        for keys in self._keys():
            for key in keys:
                if wanted is None or key.key_id == wanted:
                    return key.key
        raise jwt.InvalidTokenError("no public key has its id")

    def _keys(self) -> Iterator[Sequence[Any]]:
        """Public keys, as they are known and then asked for anew; made-up ids do not have us ask all day.

        Raises
        ------
        ServiceError
            When there are none that can be read: whoever runs the service is told why, in the log.
        """
        try:
            if self._client is None:
                yield load_key_set(self._oidc.jwks)
                return
            yield self._client.get_signing_keys()
            now = time.monotonic()
            if now - self._asked_at > ASKED_EVERY_S:
                self._asked_at = now
                yield self._client.get_signing_keys(refresh=True)
        except KEY_SET_ERRORS as error:
            _log.error("Tokens cannot be checked, for there are no public keys: %s", without_secrets(reason_of(error)))
            raise ServiceError(
                "Tokens cannot be checked now.",
                "Try again in a moment; if it stays so, tell who runs this service.",
                ASKED_EVERY_S,
                code="tokens_unready",
                status=503,
            ) from error

    def read(self, token: str) -> Principal:
        """Who a token is of.

        Raises
        ------
        AccessRefused
        ServiceError
            When nobody can say, since there are no public keys.
        """
        try:
            claims: Mapping[str, Any] = jwt.decode(
                token,
                self._key(token),
                algorithms=list(self._oidc.algorithms),
                audience=self._oidc.audience,
                issuer=self._oidc.issuer,
                leeway=30,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
        except (jwt.PyJWTError, OSError, ValueError) as error:
            raise AccessRefused(f"This token is not accepted: {error}.", "Sign in again.") from error
        tenant, scopes = claims.get(self._oidc.tenant_claim), claims.get("scope", claims.get("scp", ""))
        if not isinstance(tenant, str) or not _TENANT.fullmatch(tenant) or tenant == LOCAL_TENANT:
            raise AccessRefused(
                f"This token names no tenant in its claim '{self._oidc.tenant_claim}'.", "Ask who runs your provider."
            )
        words = scopes.split() if isinstance(scopes, str) else scopes if isinstance(scopes, list) else []
        words = [word for word in words if isinstance(word, str)]
        return Principal(tenant, f"token {in_one_line(str(claims['sub']))}"[:120], spread(words))


_bearer = HTTPBearer(auto_error=False, description="a key of 'facefusion keys create', or a token of your provider")
_cookie = APIKeyCookie(name=COOKIE, auto_error=False, description="the session of the page")


async def anybody(
    request: Request,
    credentials: HTTPAuthorizationCredentials | None = Depends(_bearer),
    cookie: str | None = Depends(_cookie),
) -> Principal:
    """Who asks, with a request of theirs counted.

    Raises
    ------
    AccessRefused, ScopeMissing, LimitReached
    """
    service: Any = request.app.state.service
    bearer = "" if credentials is None else credentials.credentials
    if not bearer and request.headers.get("authorization"):
        raise AccessRefused("Authorization is not of the form Bearer KEY.", _REFUSED)
    words = bearer, cookie or ""
    principal: Principal = service.gate.recall(*words) or await run_in_threadpool(_let_in, service, request, *words)
    if principal.by_cookie and request.method not in SAFE_METHODS:
        check_same_origin(request)
    request.state.principal = principal
    request.state.identify = partial(service.gate.identify, *words)  # for what lasts longer
    if service.pace.is_near:
        service.count_request(principal)
    else:
        await run_in_threadpool(service.count_request, principal)
    return principal


def _let_in(service: Any, request: Request, bearer: str, cookie: str) -> Principal:
    try:
        principal: Principal = service.gate.admit(bearer, cookie)
        return principal
    except AccessRefused:
        service.count_refusal(request)
        raise


def check_same_origin(request: Request) -> None:
    """Refuse what another page has a browser send with our cookie.

    Raises
    ------
    ScopeMissing
    """
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    own = {f"{request.url.scheme}://{request.headers.get('host', '')}"}
    if request.url.scheme == "http":  # a proxy before us may speak https to the browser
        own.add(f"https://{request.headers.get('host', '')}")
    if (site is not None and site != "same-origin") or (origin is not None and origin not in own):
        raise ScopeMissing("This request comes from another page.", "Use the page of this service, or a key.")
    if site is None and origin is None:
        raise ScopeMissing("This request does not say from which page it comes.", "Use a key instead of the cookie.")


def check_scope(principal: Principal, scope: Scope) -> None:
    """Refuse who lacks a scope.

    Raises
    ------
    ScopeMissing
    """
    if scope not in principal.scopes:
        raise ScopeMissing(f"This key does not allow {scope}.", f"Use a key with the scope {scope}.")


@cache
def allows(scope: Scope) -> Callable[..., Any]:
    """A dependency that lets in who has a scope."""

    async def check(principal: Principal = Depends(anybody)) -> Principal:
        check_scope(principal, scope)
        return principal

    check.scope = scope  # type: ignore[attr-defined]
    return check
