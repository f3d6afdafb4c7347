"""Only the viewer's own page, under its own name and with its secret, gets through."""

from http import HTTPStatus

import pytest

from sensorium.viewer.gate import Gate, TokenError

TOKEN = "0123456789abcdef"  # noqa: S105
HOST = "127.0.0.1:8090"
COOKIE = f"other=1; sensorium_viewer_8090={TOKEN}"


@pytest.fixture
def gate():
    return Gate("127.0.0.1", 8090, TOKEN, ["robot.local:8090"])


def socket_headers(**changes):
    headers = {"Host": HOST, "Upgrade": "websocket", "Origin": f"http://{HOST}", "Cookie": COOKIE}
    return {key: value for key, value in {**headers, **changes}.items() if value is not None}


def test_the_secret_in_the_address_becomes_a_cookie_and_leaves_the_address(gate):
    verdict = gate.judge(f"/?token={TOKEN}", {"Host": HOST})
    assert verdict.status is HTTPStatus.SEE_OTHER
    headers = dict(verdict.headers)
    assert headers["Location"] == "/"
    assert "HttpOnly" in headers["Set-Cookie"]
    assert "SameSite" in headers["Set-Cookie"]
    cookie = headers["Set-Cookie"].partition(";")[0]
    assert gate.judge("/", {"Host": HOST, "Cookie": cookie}).status is None
    assert gate.judge("/", socket_headers(Cookie=cookie)).status is None


@pytest.mark.parametrize("path", ["/", "/?token=", "/?token=0123456789abcdeX", "/?other=1"])
def test_a_page_without_the_secret_is_refused_and_says_where_it_stands(gate, path):
    verdict = gate.judge(path, {"Host": HOST})
    assert verdict.status is HTTPStatus.FORBIDDEN
    assert "that the viewer printed" in verdict.text
    assert TOKEN not in verdict.text


@pytest.mark.parametrize(
    "origin",
    [None, "null", "http://evil.example", "http://127.0.0.1:9999", "http://127.0.0.1",
     "http://127.0.0.1:8090.evil.example", "http://localhost:80900"],
)  # fmt: skip
def test_a_websocket_of_a_foreign_page_is_refused_even_with_the_cookie(gate, origin):
    verdict = gate.judge("/", socket_headers(Origin=origin))
    assert verdict.status is HTTPStatus.FORBIDDEN
    assert "allowed_hosts" in verdict.text


@pytest.mark.parametrize(
    "cookie", [None, "", "sensorium_viewer_8090=wrong", "sensorium_viewer_1=x"]
)
def test_a_websocket_without_the_secret_is_refused(gate, cookie):
    assert gate.judge("/", socket_headers(Cookie=cookie)).status is HTTPStatus.FORBIDDEN


def test_a_foreign_name_that_resolves_to_this_machine_is_refused(gate):
    for headers in ({"Host": "evil.example:8090", "Cookie": COOKIE}, {"Cookie": COOKIE}):
        assert gate.judge(f"/?token={TOKEN}", headers).status is HTTPStatus.FORBIDDEN
    named = socket_headers(Host="evil.example:8090", Origin="http://evil.example:8090")
    assert gate.judge("/", named).status is HTTPStatus.FORBIDDEN


def test_further_names_can_be_allowed(gate):
    headers = socket_headers(Host="robot.local:8090", Origin="https://robot.local:8090")
    assert gate.judge("/", headers).status is None


def test_every_start_has_another_secret():
    assert Gate("127.0.0.1", 1).token != Gate("127.0.0.1", 1).token


@pytest.mark.parametrize("token", ["short", "0123456789abcde", "0123456789 abcdef", "é" * 20])
def test_a_weak_secret_is_refused(token):
    with pytest.raises(TokenError, match="16 or more letters"):
        Gate("127.0.0.1", 8090, token)
