"""Requests that a web page has a browser send: refused, while clients of all kinds are served."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import httpx
import pytest

from tests.support.server import Server, assert_error, running

BODY = {"prompt": "Once upon a time", "n_predict": 1}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    yield from running("-c", "256", "-np", "1")


def asked(server: Server, **headers: str) -> int:
    answer = server.post(
        "/completion", BODY, headers={name.replace("_", "-"): value for name, value in headers.items()}
    )
    if answer.status != 200:
        assert_error(answer, 403)
    return answer.status


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST:80", "127.0.0.1:5", "[::1]:8080", "192.168.1.5", "app.localhost:3000",
     "host.docker.internal:8080", "localhost."],
)  # fmt: skip
def test_names_of_this_machine_are_served(server: Server, host: str) -> None:
    assert asked(server, host=host) == 200


@pytest.mark.parametrize("path", ["/health", "/", "/v1/models", "/slots", "/completion", "/webui/chat.js"])
@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8080", "127.0.0.1.evil.example", "localhost.evil.example", "xlocalhost"]
)
def test_a_name_that_was_made_to_lead_here_is_refused(server: Server, host: str, path: str) -> None:
    error = assert_error(server.get(path, headers={"host": host}), 403)
    assert host in error["message"]
    assert "--allowed-hosts" in error["message"]
    # As a rebound page would: of its own origin, from the browser's point of view.
    own = {"origin": f"http://{host}", "sec_fetch_site": "same-origin"}
    assert asked(server, host=host, **own) == 403


def test_errors_have_the_shape_of_the_api(server: Server) -> None:
    answer = server.post("/v1/messages", {}, headers={"host": "evil.example"})
    assert (answer.status, answer.body["type"], answer.body["error"]["type"]) == (403, "error", "permission_error")


def test_http_1_0_has_no_host(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(b"GET /health HTTP/1.0\r\n\r\n")
        assert b" 200 " in connection.recv(4096).partition(b"\r\n")[0]


def test_two_hosts_must_both_be_ours(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n")
        assert connection.recv(4096).split(b" ")[1] in (b"400", b"403")


def test_a_proxy_s_names_are_allowed_by_a_flag() -> None:
    for one in running("-c", "256", "--allowed-hosts", "llm.example.org,*.inside.example"):
        for host in ("llm.example.org", "LLM.example.org:443", "a.b.inside.example", "localhost"):
            assert asked(one, host=host) == 200
        for host in ("example.org", "inside.example", "xllm.example.org"):
            assert asked(one, host=host) == 403
    for one in running("-c", "256", "--allowed-hosts", "*"):
        assert asked(one, host="anything.example") == 200


def test_who_listens_to_others_has_any_name_until_some_are_given() -> None:
    for one in running("-c", "256", "--host", "0.0.0.0"):
        assert asked(one, host="box.example") == 200
    for one in running("-c", "256", "--host", "0.0.0.0", "--allowed-hosts", "box.example"):
        assert asked(one, host="box.example") == 200
        assert asked(one, host="evil.example") == 403


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "https://evil.example", "sec_fetch_site": "cross-site"},
        {"origin": "http://192.168.1.9:8080", "sec_fetch_site": "same-site"},
        {"origin": "null"},
        {"origin": "http://localhost.evil.example"},
        {"origin": "http://127.0.0.1.evil.example"},
    ],
)
def test_foreign_pages_are_refused(server: Server, headers: dict[str, str]) -> None:
    # A form or a text needs no preflight, and JSON is read under any name.
    assert asked(server, content_type="text/plain", **headers) == 403
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    assert_error(server.post("/slots/0?action=erase", headers=names), 403)
    preflight = {**names, "access-control-request-method": "POST", "access-control-request-headers": "content-type"}
    answer = server.client.request("OPTIONS", "/v1/chat/completions", headers=preflight)
    assert answer.status_code == 403
    assert "access-control-allow-origin" not in answer.headers
    # Reading changes nothing, and the browser keeps the answer from the page.
    health = server.client.get("/health", headers=names)
    assert health.status_code == 200
    assert "access-control-allow-origin" not in health.headers


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"origin": "http://localhost:3000"},
        {"origin": "https://127.0.0.1"},
        {"origin": "http://[::1]:5"},
        {"origin": "tauri://localhost"},
        {"origin": "chrome-extension://abcdefghijklmnop"},
        {"origin": "http://192.168.1.5:8080", "host": "192.168.1.5:8080"},
        {"origin": "https://llm.example.org", "sec_fetch_site": "same-origin"},
    ],
)
def test_others_are_served(server: Server, headers: dict[str, str]) -> None:
    assert asked(server, **headers) == 200


def test_origins_that_the_operator_names() -> None:
    for one in running("-c", "256", "--cors-origins", "https://chat.example"):
        assert asked(one, origin="https://chat.example", sec_fetch_site="cross-site") == 200
        assert asked(one, origin="https://evil.example") == 403
        preflight = {"origin": "https://chat.example", "access-control-request-method": "POST"}
        answer = httpx.options(f"{one.url}/completion", headers=preflight)
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, "https://chat.example")
