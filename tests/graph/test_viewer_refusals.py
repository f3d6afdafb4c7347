"""A viewer that cannot serve its page safely says why and how to mend it."""

import socket
import sys

import pytest
from viewer_tools import need_viewer, start_viewer


def failure(graph, **parameters):
    node = graph.host("viewer", parameters={"autostart": False, "port": 0, **parameters})
    assert not graph.change(node, "configure")
    assert graph.state(node) == "unconfigured"
    return node.node.last_failure


def test_a_port_that_is_taken_is_named_with_the_remedy(graph):
    need_viewer()
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        text = failure(graph, port=port)
    assert f"127.0.0.1 port {port}" in text
    assert "set the parameters 'host' and 'port'" in text


def test_a_missing_library_is_named_with_the_remedy(graph, monkeypatch):
    monkeypatch.setitem(sys.modules, "viser", None)
    assert "pip install 'viser==1.1.1'" in failure(graph)


def test_a_weak_secret_is_refused(graph):
    need_viewer()
    assert "16 or more" in failure(graph, token="short")  # noqa: S106


def test_the_page_is_bound_to_this_machine_only_and_freed_by_cleanup(graph):
    need_viewer()
    node = start_viewer(graph)
    port = int(node.node.url.split(":")[2].partition("/")[0])
    listening = [line.split()[1] for line in _tcp_sockets() if line.split()[3] == "0A"]
    assert [s for s in listening if s.endswith(f":{port:04X}")] == [f"0100007F:{port:04X}"]
    assert graph.change(node, "deactivate")
    assert graph.change(node, "cleanup")
    socket.create_server(("127.0.0.1", port)).close()
    assert node.node.url == ""


def _tcp_sockets():
    path = "/proc/net/tcp"
    try:
        with open(path) as file:  # noqa: PTH123 - no file of ours
            return file.read().splitlines()[1:]
    except OSError:
        pytest.skip(f"{path} cannot be read")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "http://{host}"}, "101"),
        ({"Origin": "http://evil.example"}, "403"),
        ({"Origin": "http://127.0.0.1:1"}, "403"),
        ({"Origin": "http://{host}", "Cookie": ""}, "403"),
        ({"Origin": "http://evil.example:1", "Host": "evil.example:1"}, "403"),
        ({}, "403"),
    ],
)
def test_websockets_are_accepted_from_the_own_page_only(graph, headers, status):
    need_viewer()
    token = "0123456789abcdef"  # noqa: S105
    node = start_viewer(graph, token=token)
    port = int(node.node.url.split(":")[2].partition("/")[0])
    host = f"127.0.0.1:{port}"
    sent = {
        "Host": host, "Upgrade": "websocket", "Connection": "Upgrade",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Protocol": "viser-v1.1.1",
        "Cookie": f"sensorium_viewer_{port}={token}", **headers,
    }  # fmt: skip
    request = "".join(f"{key}: {value.format(host=host)}\r\n" for key, value in sent.items())
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(f"GET / HTTP/1.1\r\n{request}\r\n".encode())
        assert connection.recv(4096).split()[1].decode() == status
