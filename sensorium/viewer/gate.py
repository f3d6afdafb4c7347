"""Who may open the page: own address, own origin, own secret.

The page can send instructions to a robot, so a web page of somebody else must not reach it through
the user's browser. Three ways in are closed: a websocket opened by a foreign page (its Origin), a
foreign name that resolves to this machine (its Host), and other users of this machine (the secret).
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, urlsplit

SHORTEST_TOKEN = 16
_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
_ANY_ADDRESS = ("0.0.0.0", "::")  # noqa: S104 - compared with, not bound


class TokenError(ValueError):
    """A secret that is too short or cannot stand in an address."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to answer to a request.

    Attributes:
        status: None lets the request through; else the status of the answer.
        text: body of the answer.
        headers: headers of the answer.
    """

    status: HTTPStatus | None = None
    text: str = ""
    headers: tuple[tuple[str, str], ...] = ()


class Gate:
    """Judges requests by path and headers.

    Args:
        host: address that the server is bound to.
        port: port that it is bound to.
        token: secret in the page's address; "" makes a new one.
        extra_hosts: further names (with port, e.g. "robot.local:8090") under which it is reached.

    Attributes:
        token: the secret.

    Raises:
        TokenError: the token has fewer than 16 characters, or others than letters, digits, - and _.
    """

    def __init__(
        self, host: str, port: int, token: str = "", extra_hosts: Iterable[str] = ()
    ) -> None:
        self.token = _checked_token(token) if token else secrets.token_urlsafe(24)
        names = {*_LOOPBACK}
        if host not in _ANY_ADDRESS:
            names.add(f"[{host}]" if ":" in host else host)
        self._hosts = frozenset({f"{name}:{port}" for name in names} | {*extra_hosts})
        self._origins = frozenset(
            f"{scheme}://{name}" for name in self._hosts for scheme in ("http", "https")
        )
        # Browsers send cookies to every port of a host, so two viewers need two names.
        self._cookie = f"sensorium_viewer_{port}"

    def judge(self, path: str, headers: Mapping[str, str]) -> Verdict:
        """Return what to answer to a request for `path` (with its query).

        Args:
            path: request target, e.g. "/?token=...".
            headers: request headers, looked up in the spelling Host, Origin, Cookie, Upgrade.
        """
        if headers.get("Host", "") not in self._hosts:
            return self._refused("the address is not the viewer's own", self._hosts)
        if headers.get("Upgrade", "").lower() == "websocket":
            if headers.get("Origin", "") not in self._origins:
                return self._refused("a page from another address may not connect", self._hosts)
            return Verdict() if self._knows(self._cookie_of(headers)) else self._no_token()
        offered = parse_qs(urlsplit(path).query).get("token", [""])[0]
        if self._knows(offered):
            # The secret leaves the address bar, so that a shared screen does not show it.
            cookie = f"{self._cookie}={self.token}; Path=/; HttpOnly; SameSite=Lax"
            return Verdict(HTTPStatus.SEE_OTHER, "", (("Location", "/"), ("Set-Cookie", cookie)))
        return Verdict() if self._knows(self._cookie_of(headers)) else self._no_token()

    def _knows(self, offered: str) -> bool:
        return hmac.compare_digest(offered.encode(), self.token.encode())

    def _cookie_of(self, headers: Mapping[str, str]) -> str:
        try:
            cookies = SimpleCookie(headers.get("Cookie", ""))
        except CookieError:
            return ""
        return cookies[self._cookie].value if self._cookie in cookies else ""

    def _no_token(self) -> Verdict:
        return Verdict(
            HTTPStatus.FORBIDDEN,
            "This page can command a robot. Open the address with ?token=... that the viewer "
            "printed when it started (`sensorium view`, or the log of the viewer node).\n",
        )

    @staticmethod
    def _refused(reason: str, hosts: Collection[str]) -> Verdict:
        return Verdict(
            HTTPStatus.FORBIDDEN,
            f"Refused: {reason}. Allowed are {', '.join(sorted(hosts))}; add others to the "
            "viewer's parameter 'allowed_hosts'.\n",
        )


def _checked_token(token: str) -> str:
    usable = all(character.isalnum() or character in "-_" for character in token)
    if len(token) < SHORTEST_TOKEN or not token.isascii() or not usable:
        raise TokenError(
            f"the token has {len(token)} characters; it needs {SHORTEST_TOKEN} or more letters, "
            "digits, '-' and '_', or leave it empty for a new one at each start"
        )
    return token
