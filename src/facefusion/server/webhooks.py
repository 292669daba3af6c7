"""Messages to addresses of clients: signed, tried again, and never to where only this machine can go."""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import json
import re
import socket
import ssl
import time
from collections.abc import Mapping
from contextlib import suppress
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

import httpx

from facefusion.errors import FaceFusionError, RecipeError
from facefusion.jobs.ledger import Delivery, Ledger

DELAYS_S = (10.0, 60.0, 300.0, 1800.0, 7200.0, 21600.0)
"""Waits before the tries that follow the first."""
TIMEOUT_S = 15.0
WHOLE_S = 30.0
"""However little comes of an answer at a time, all of it takes no longer: others wait for their messages."""
CLAIM_S = 60.0
"""A message that was taken up and of which nothing was recorded is due again."""
_PORTS = (443, 8443)
_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")


def check_url(url: str, allow_private: bool = False) -> None:
    """Refuse an address that no message goes to. Names are looked up only when something is sent.

    Raises
    ------
    RecipeError
    """
    try:
        parts = urlsplit(url)
        port = parts.port
        name = httpx.URL(url).raw_host.decode("ascii").strip("[]")  # what sends has to understand it, too
    except (ValueError, httpx.InvalidURL) as error:
        why = str(error).rstrip(".")
        raise RecipeError(f"This is no address for a webhook: {why}.", "Use https://HOST/PATH.") from error
    if parts.username or parts.password:
        raise RecipeError("An address of a webhook has no user and password.", "Put what you need into its path.")
    if not parts.hostname or parts.fragment or not _is_host(name):
        raise RecipeError("This is no address for a webhook: no host can be called so.", "Use https://HOST/PATH.")
    if allow_private:
        return
    if parts.scheme != "https" or port not in (None, *_PORTS):
        raise RecipeError("Webhooks go by https, to port 443 or 8443.", "Use https://HOST/PATH.")
    literal = None
    with suppress(ValueError):
        literal = ipaddress.ip_address(parts.hostname)
    if literal is not None and not is_public(literal):
        raise RecipeError(f"{parts.hostname} is not on the public internet.", "Use an address that is.")
    name = parts.hostname.rstrip(".")
    if literal is None and ("." not in name or name.endswith((".localhost", ".local", ".internal"))):
        raise RecipeError(f"{parts.hostname} is not on the public internet.", "Use an address that is.")


def _is_host(name: str) -> bool:
    """Whether something can be the name of a host, or is an address."""
    with suppress(ValueError):
        ipaddress.ip_address(name)
        return True
    labels = name.removesuffix(".").split(".")
    return len(name) < 255 and all(map(_LABEL.fullmatch, labels)) and not labels[-1].isdigit()


def is_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Whether an address is on the public internet, looked at through every way of wrapping one in another."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is None and address.teredo is not None:
            inner = address.teredo[1]
        if inner is None and address in ipaddress.ip_network("64:ff9b::/96"):
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(inner)
    return address.is_global and not address.is_multicast and not address.is_reserved


def resolve(host: str, port: int, allow_private: bool = False) -> str:
    """The address to connect to: every address of the name has to be public, so that no answer can slip one in.

    Raises
    ------
    RecipeError
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise RecipeError(f"{host} is not found.", "Check the address.") from error
    addresses = [str(entry[4][0]) for entry in found]
    for text in addresses:
        if not allow_private and not is_public(ipaddress.ip_address(text.partition("%")[0])):
            raise RecipeError(f"{host} is not on the public internet.", "Use an address that is.")
    if not addresses:
        raise RecipeError(f"{host} has no address.", "Check the address.")
    return addresses[0]


def sign(secret: str, at: int, body: str) -> str:
    """The signature of a message, as its header has it."""
    return f"t={at},v1={hmac.new(secret.encode(), f'{at}.{body}'.encode(), 'sha256').hexdigest()}"


def verify(secret: str, header: str, body: bytes, now: float | None = None, tolerance_s: float = 300.0) -> bool:
    """Whether a message is from who knows the secret, and not an old one.

    Parameters
    ----------
    secret
        As in the job's webhook.
    header
        ``FaceFusion-Signature``.
    body
        As it came.
    now, tolerance_s
        Time, and how far the message's may be from it.
    """
    parts = dict(part.split("=", 1) for part in header.split(",") if "=" in part)
    try:
        at = int(parts.get("t", ""))
    except ValueError:
        return False
    expected = sign(secret, at, body.decode("utf-8", "replace")).partition("v1=")[2]
    is_fresh = abs((time.time() if now is None else now) - at) <= tolerance_s
    return hmac.compare_digest(parts.get("v1", ""), expected) and is_fresh


def send(delivery: Delivery, allow_private: bool = False) -> str:
    """Try a message once.

    Returns
    -------
    What came of it, beginning with ``2`` where it arrived: of the answer its status and no more, of a failure its kind.
    """
    try:
        check_url(delivery.url, allow_private)
        url = httpx.URL(delivery.url)
        name = url.raw_host.decode("ascii")
        address = resolve(name, url.port or (443 if url.scheme == "https" else 80), allow_private)
    except FaceFusionError as error:
        return error.message
    # The address that was checked is the one that is connected to; the name is kept for TLS and the Host header.
    at = int(time.time())
    try:
        headers = {
            "Host": url.netloc.decode("ascii"),
            "Content-Type": "application/json",
            "User-Agent": "FaceFusion",
            "FaceFusion-Delivery": delivery.id,
            "FaceFusion-Signature": sign(delivery.secret, at, delivery.body),
        }
        return asyncio.run(_post(url.copy_with(host=address), delivery.body.encode(), headers, name))
    except TimeoutError:
        return f"It did not answer within {WHOLE_S:.0f} s."
    except httpx.TimeoutException:
        return f"It did not answer within {TIMEOUT_S:.0f} s."
    except (httpx.ConnectError, OSError):
        return "No connection could be made."
    except (httpx.HTTPError, httpx.InvalidURL, ValueError):
        return "The connection broke, or the answer was none of HTTP."


async def _post(url: httpx.URL, body: bytes, headers: Mapping[str, str], name: str) -> str:
    """Send a message; the status of the answer."""
    async with (
        asyncio.timeout(WHOLE_S),
        httpx.AsyncClient(
            timeout=TIMEOUT_S, follow_redirects=False, trust_env=False, verify=ssl.create_default_context()
        ) as client,
        client.stream("POST", url, content=body, headers=headers, extensions={"sni_hostname": name}) as answer,
    ):  # nobody needs what it says
        known = answer.status_code in HTTPStatus._value2member_map_
        return f"{answer.status_code} {HTTPStatus(answer.status_code).phrase if known else ''}".strip()


def deliver_next(ledger: Ledger, allow_private: bool = False) -> bool:
    """Send the next message that is due; whether there was one."""
    delivery = ledger.claim_delivery(CLAIM_S)
    if delivery is None:
        return False
    told = send(delivery, allow_private)
    if told[:1] == "2" and told[:3].isdigit():
        ledger.note_delivery(delivery.id, "delivered", told)
    elif delivery.tries > len(DELAYS_S):
        ledger.note_delivery(delivery.id, "given up", told)
    else:
        ledger.note_delivery(delivery.id, "waiting", told, DELAYS_S[delivery.tries - 1])
    return True


def message_of(
    order_id: str, tenant: str, webhook: Mapping[str, str], body: Mapping[str, Any], new_id: str
) -> Delivery:
    """A message about an order, not sent yet."""
    return Delivery(
        new_id, tenant, order_id, "waiting", webhook["url"], webhook["secret"], json.dumps(body, sort_keys=True), 0, "",
        0.0, 0.0, 0.0,
    )  # fmt: skip
