"""Where and to whom a server listens: sockets, TLS, prefixes, files, keys from a file."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.support.server import ROOT, Server, assert_error, free_port, running

TLS = ROOT / "tests/data/tls"
REQUEST = {"prompt": "Once upon a time", "n_predict": 4}


@contextmanager
def started(client: httpx.Client, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """A server that is spoken to through `client`."""
    command = [sys.executable, "-m", "rustllm", "serve", "-c", "256", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while True:
            assert time.monotonic() < deadline
            assert process.poll() is None
            try:
                if client.get("/health").status_code == 200:
                    break
            except httpx.TransportError:
                time.sleep(0.05)
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=40)


def over_socket(path: Path) -> httpx.Client:
    return httpx.Client(base_url="http://localhost", transport=httpx.HTTPTransport(uds=str(path)), timeout=60)


def test_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "server.sock"
    with over_socket(path) as client:
        with started(client, "--host", str(path)) as process:
            assert client.post("/completion", json=REQUEST).status_code == 200
            body = {**REQUEST, "n_predict": 8, "stream": True}
            with client.stream("POST", "/completion", json=body) as response:
                assert sum(line.startswith("data: ") for line in response.iter_lines()) >= 8
            second = [sys.executable, "-m", "rustllm", "serve", "--host", str(path)]
            ended = subprocess.run(second, capture_output=True, text=True, timeout=30, check=False)
            assert ended.returncode == 1
            assert "cannot listen" in ended.stderr
            assert client.get("/health").status_code == 200
        assert process.returncode == 0
        assert not path.exists()


def test_the_socket_of_a_killed_server_is_no_obstacle(tmp_path: Path) -> None:
    path = tmp_path / "server.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    with over_socket(path) as client, started(client, "--host", str(path)):
        assert client.get("/v1/models").status_code == 200


def test_a_file_in_the_socket_s_place_stays(tmp_path: Path) -> None:
    path = tmp_path / "notes.sock"
    path.write_text("mine")
    command = [sys.executable, "-m", "rustllm", "serve", "--host", str(path)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode == 1
    assert "no socket" in ended.stderr
    assert path.read_text() == "mine"


@pytest.mark.parametrize("host", ["/no/such/directory/x.sock", "/tmp/" + "x" * 200 + ".sock"])
def test_sockets_that_cannot_be(host: str) -> None:
    command = [sys.executable, "-m", "rustllm", "serve", "--host", host]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode == 2
    assert "--host" in ended.stderr


def test_tls() -> None:
    port = free_port()
    trust = ssl.create_default_context(cafile=str(TLS / "cert.pem"))
    files = ("--ssl-key-file", str(TLS / "key.pem"), "--ssl-cert-file", str(TLS / "cert.pem"))
    client = httpx.Client(base_url=f"https://localhost:{port}", verify=trust, timeout=60)
    with client, started(client, "--host", "localhost", "--port", str(port), *files):
        assert client.post("/completion", json=REQUEST).status_code == 200
        with pytest.raises(httpx.TransportError):
            httpx.get(f"http://localhost:{port}/health")
        with pytest.raises(httpx.TransportError):
            httpx.get(f"https://localhost:{port}/health")  # nobody vouches for the certificate


def test_who_does_not_shake_hands_is_cut_off() -> None:
    port = free_port()
    files = ("--ssl-key-file", str(TLS / "key.pem"), "--ssl-cert-file", str(TLS / "cert.pem"))
    trust = ssl.create_default_context(cafile=str(TLS / "cert.pem"))
    client = httpx.Client(base_url=f"https://localhost:{port}", verify=trust, timeout=60)
    with client, started(client, "--host", "localhost", "--port", str(port), "--header-timeout", "2", *files):
        silent = [socket.create_connection(("localhost", port), timeout=10) for _ in range(20)]
        silent[0].sendall(b"\x16\x03\x01")
        assert client.post("/completion", json=REQUEST).status_code == 200
        began = time.monotonic()
        for one in silent:
            with one:
                assert one.recv(100) == b""
        assert time.monotonic() - began < 5
        assert client.post("/completion", json=REQUEST).status_code == 200


def test_a_certificate_that_is_none_ends_with_one_line(tmp_path: Path) -> None:
    (tmp_path / "cert.pem").write_text("no certificate")
    files = ("--ssl-key-file", str(TLS / "key.pem"), "--ssl-cert-file", str(tmp_path / "cert.pem"))
    command = [sys.executable, "-m", "rustllm", "serve", "--port", "0", *files]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert "cannot listen" in line


def test_a_prefix_is_before_every_route() -> None:
    for one in prefixed("/llm/v2/", "--metrics", "--api-key", "secret"):
        key = {"authorization": "Bearer secret"}
        assert one.get("/llm/v2/v1/models").status == 200
        assert one.post("/llm/v2/completion", REQUEST, headers=key).status == 200
        assert_error(one.post("/llm/v2/completion", REQUEST), 401)
        assert one.client.get("/llm/v2/metrics", headers=key).status_code == 200
        assert_error(one.get("/v1/models", headers=key), 404)


def prefixed(prefix: str, *arguments: str) -> Iterator[Server]:
    """A server with a prefix, whose health is not where a fixture looks for it."""
    one = Server("-c", "256", "--api-prefix", prefix, *arguments)
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                if one.client.get(f"{prefix.rstrip('/')}/health").status_code == 200:
                    break
            except httpx.TransportError:
                pass
            time.sleep(0.05)
        yield one
    finally:
        one.stop()


def test_keys_from_a_file(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("# ours\nfirst\n\n  second  \n")
    for one in running("--api-key-file", str(keys), "--api-key", "third"):
        for key in ("first", "second", "third"):
            assert one.post("/completion", REQUEST, headers={"authorization": f"Bearer {key}"}).status == 200
        for key in ("# ours", "ours", "fourth"):
            assert_error(one.post("/completion", REQUEST, headers={"authorization": f"Bearer {key}"}), 401)


def test_static_files(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("not for you")
    pages = tmp_path / "pages"
    (pages / "deep").mkdir(parents=True)
    (pages / "index.html").write_text("<p>hello</p>")
    (pages / "deep" / "a.css").write_text("p {}")
    (pages / "out").symlink_to(tmp_path / "secret.txt")
    for one in running("-c", "256", "--path", str(pages)):
        for path in ("/", "/index.html"):
            response = one.client.get(path)
            assert (response.status_code, response.text) == (200, "<p>hello</p>")
        assert one.client.get("/deep/a.css").headers["content-type"].startswith("text/css")
        assert one.post("/completion", REQUEST).status == 200
        assert one.get("/health").body == {"status": "ok"}
        for path in ("/../secret.txt", "/%2e%2e/secret.txt", "/deep/%2e%2e/%2e%2e/secret.txt", "/..%2fsecret.txt",
                     "/out", "/absent", "/deep/" + "x" * 300, "/a%00b"):  # fmt: skip
            response = one.client.get(path)
            assert response.status_code == 404, path
            assert response.json()["error"]["code"] == 404
        assert_error(one.post("/absent", {}), 405)


def test_static_files_and_keys(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("hello")
    (tmp_path / "other.txt").write_text("other")
    for one in running("-c", "256", "--path", str(tmp_path), "--api-key", "secret"):
        assert one.client.get("/").text == "hello"
        assert_error(one.get("/other.txt"), 401)
        assert one.client.get("/other.txt", headers={"x-api-key": "secret"}).text == "other"


@pytest.mark.parametrize("flag", ["--path", "--slot-save-path"])
def test_directories_that_are_none(tmp_path: Path, flag: str) -> None:
    command = [sys.executable, "-m", "rustllm", "serve", flag, str(tmp_path / "absent")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode == 2
    assert flag in ended.stderr


def test_switches_of_endpoints() -> None:
    for one in running("-c", "256", "--no-slots", "--props", "--threads-http", "4"):
        assert_error(one.get("/slots"), 501)
        assert one.post("/props", {}).body == {"success": True}
        props = one.get("/props").body
        assert (props["endpoint_slots"], props["endpoint_props"]) == (False, True)
        assert one.output().count("--threads-http") == 1
    for one in running("-c", "256", env={"LLAMA_ARG_ENDPOINT_METRICS": "1", "LLAMA_ARG_THREADS_HTTP": "2"}):
        assert one.client.get("/metrics").status_code == 200
        assert one.get("/slots").status == 200
        assert_error(one.post("/props", {}), 501)
    assert os.environ.get("LLAMA_ARG_ENDPOINT_METRICS") is None


def test_no_free_slot_is_503_on_demand() -> None:
    for one in running("-c", "64", "-np", "1", "--context-shift"):
        body = {**REQUEST, "n_predict": -1, "ignore_eos": True, "stream": True}
        assert one.get("/slots?fail_on_no_slot=1").status == 200
        with httpx.Client(base_url=one.url) as client, client.stream("POST", "/completion", json=body) as response:
            lines = response.iter_lines()  # letting go of it would end the connection
            next(lines)
            assert_error(one.get("/slots?fail_on_no_slot=1"), 503)
            assert one.get("/slots?fail_on_no_slot=0").status == one.get("/slots").status == 200
