"""The page's server: viser on one given address, with the gate in front of it."""

from __future__ import annotations

import contextlib
import io
import socket
from collections.abc import Iterator
from types import TracebackType
from typing import Any

from sensorium.viewer.gate import Gate, Verdict


class ViewerError(OSError):
    """The page cannot be served; the text names the address, the reason and the remedy."""


class MissingLibraryError(ImportError):
    """The library that draws the page is not installed."""


class ViewerServer:
    """Serves the page from construction until :meth:`close`.

    Args:
        host: address to bind; "127.0.0.1" is reached from this machine only.
        port: port to bind; 0 takes a free one.
        token: secret in the page's address; "" makes a new one.
        extra_hosts: further host:port names under which the page is reached.

    Attributes:
        page: the viser server, for scene and controls.
        url: the page's address with the secret.

    Raises:
        MissingLibraryError: viser is not installed, or it cannot be guarded.
        ViewerError: the address or port cannot be bound.
        TokenError: the token is too short.
    """

    def __init__(
        self, host: str, port: int, token: str = "", extra_hosts: tuple[str, ...] = ()
    ) -> None:
        viser = _viser()
        # We bind, not viser: on a port that is taken it would silently move to another one.
        listening = _bound(host, port)
        try:
            port = listening.getsockname()[1]
            self._gate = Gate(host, port, token, extra_hosts)
            with _guarded(listening, self._gate) as guarded, _silent():
                self.page = viser.ViserServer(host=host, port=port, verbose=False)
            if not guarded:
                self.page.stop()
                raise MissingLibraryError(
                    f"viser {viser.__version__} serves its page in a way that cannot be guarded "
                    "against foreign pages; install viser==1.1.1"
                )
        except BaseException:
            listening.close()
            raise
        # The share button would tunnel the page through a server on the internet.
        self.page.request_share_url = _refuse_sharing
        shown = "localhost" if host in ("0.0.0.0", "::") else host  # noqa: S104 - compared only
        shown = f"[{shown}]" if ":" in shown else shown
        self.url = f"http://{shown}:{port}/?token={self._gate.token}"

    def close(self) -> None:
        """Stop serving and free the port."""
        with _silent():
            self.page.stop()

    def __enter__(self) -> ViewerServer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _viser() -> Any:  # noqa: ANN401 - a module
    try:
        import viser
    except ImportError as error:
        raise MissingLibraryError(
            f"the viewer needs viser, which cannot be imported ({error}): "
            "pip install 'viser==1.1.1'"
        ) from error
    return viser


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        raise ViewerError(
            f"cannot serve the page on {host} port {port}: {error}; stop what uses it (another "
            "viewer?) or set the parameters 'host' and 'port' (0 takes a free port)"
        ) from error


@contextlib.contextmanager
def _guarded(listening: socket.socket, gate: Gate) -> Iterator[list[Gate]]:
    """While viser starts its server, hand it our socket and put the gate before its requests.

    Yields:
        A list that holds the gate once it is in place.
    """
    from websockets.asyncio import server as websockets_server
    from websockets.datastructures import Headers
    from websockets.http11 import Response

    original = websockets_server.serve
    guarded: list[Gate] = []

    def answer(verdict: Verdict) -> Response:
        assert verdict.status is not None  # noqa: S101 - only refusals and redirects come here
        body = verdict.text.encode()
        headers = Headers(verdict.headers)
        headers["Content-Type"] = "text/plain; charset=utf-8"
        headers["Content-Length"] = str(len(body))
        return Response(verdict.status.value, verdict.status.phrase, headers, body)

    def serve(handler: Any, _host: str, _port: int, **options: Any) -> Any:  # noqa: ANN401
        serve_page = options.pop("process_request")

        def process_request(connection: Any, request: Any) -> Any:  # noqa: ANN401
            verdict = gate.judge(request.path, request.headers)
            return serve_page(connection, request) if verdict.status is None else answer(verdict)

        guarded.append(gate)
        return original(handler, sock=listening, process_request=process_request, **options)

    websockets_server.serve = serve
    try:
        yield guarded
    finally:
        websockets_server.serve = original


def _silent() -> contextlib.redirect_stdout[io.StringIO]:
    """Hide viser's own banner, whose address lacks the secret."""
    return contextlib.redirect_stdout(io.StringIO())


def _refuse_sharing(*_: Any, **__: Any) -> None:  # noqa: ANN401
    raise ViewerError("the page is not shared over the internet; use an SSH tunnel")
