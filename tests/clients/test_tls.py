"""The server over TLS: its own clients and others', certificates that change, connections that go wrong."""

import contextlib
import hashlib
import os
import re
import signal
import socket
import ssl
import subprocess
import threading
import time
import warnings

import httpx
import openai
import pytest

from conftest import MODEL, Server, clean_environment, program, run_sluice

QUESTION = [{"role": "user", "content": "Name three colours."}]


def openssl(*arguments, cwd):
    subprocess.run(["openssl", *arguments], cwd=cwd, check=True, capture_output=True, timeout=60)


def make_certificate(folder, name, host="IP:127.0.0.1,DNS:localhost"):
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
            "-keyout", f"{name}.key", "-out", f"{name}.pem", "-days", "2", "-subj", f"/CN={name}",
            "-addext", f"subjectAltName={host}", cwd=folder)
    return folder / f"{name}.pem", folder / f"{name}.key"


class TlsServer(Server):
    def __init__(self, home, folder, *arguments):
        super().__init__(home, "--tls-cert", str(folder / "cert.pem"), "--tls-key",
                         str(folder / "cert.key"), *arguments, scheme="https")
        self.trusted = ssl.create_default_context(cafile=folder / "cert.pem")

    def connect(self, context=None):
        raw = socket.create_connection((self.host, self.port), timeout=60)
        return (context or self.trusted).wrap_socket(raw, server_hostname="localhost")

    def client(self):
        return httpx.Client(base_url=self.url, verify=self.trusted, timeout=60)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    make_certificate(folder, "cert")
    return folder


@pytest.fixture(scope="module")
def secure(home, folder):
    server = TlsServer(home, folder)
    yield server
    assert server.stop() == 0, "".join(server.log)[-3000:]


@pytest.fixture(autouse=True)
def secure_server_survives(request):
    yield
    if "secure" in request.fixturenames:
        with request.getfixturevalue("secure").client() as client:
            assert client.get("/api/version").status_code == 200


def command(server, home, folder, *arguments, **more):
    env = clean_environment(home) | {
        "SLUICE_HOST": server.url, "SSL_CERT_FILE": str(folder / "cert.pem")} | more
    return subprocess.run([program(), *arguments], env=env, capture_output=True, text=True,
                          stdin=subprocess.DEVNULL, timeout=120)


def test_official_clients_whole_and_streamed(secure):
    with httpx.Client(verify=secure.trusted) as transport:
        client = openai.OpenAI(base_url=secure.url + "/v1", api_key="any", http_client=transport)
        whole = client.chat.completions.create(
            model=MODEL, messages=QUESTION, max_tokens=20, temperature=0)
        pieces = client.chat.completions.create(
            model=MODEL, messages=QUESTION, max_tokens=20, temperature=0, stream=True)
        text = "".join(piece.choices[0].delta.content or "" for piece in pieces)
        assert text == whole.choices[0].message.content


def test_pieces_come_as_they_are_made(secure):
    with secure.client() as client:
        with client.stream("POST", "/api/generate", json={
                "model": MODEL, "prompt": "Tell a story.", "ignore_eos": True,
                "options": {"num_predict": 200}}) as reply:
            times = [time.monotonic() for _ in reply.iter_lines()]
    assert len(times) > 100 and times[-1] - times[0] > 0.05


def test_our_commands(secure, home, folder):
    for arguments in (["list"], ["run", MODEL, "hi", "--option", "num_predict=3"], ["top", "--once"]):
        done = command(secure, home, folder, *arguments)
        assert done.returncode == 0, (arguments, done.stderr)
    done = command(secure, home, folder, "list", SSL_CERT_FILE="/etc/hostname")
    assert done.returncode == 1 and "certificate" in done.stderr, done.stderr
    assert "SSL_CERT_FILE" in done.stderr


def test_a_certificate_of_another_name_is_refused(home, tmp_path):
    make_certificate(tmp_path, "cert", "DNS:elsewhere.example")
    server = TlsServer(home, tmp_path)
    try:
        done = command(server, home, tmp_path, "list")
        assert done.returncode == 1 and "certificate" in done.stderr, done.stderr
    finally:
        server.stop()


def test_large_bodies_and_replies(secure):
    data = os.urandom(24 << 20)
    digest = hashlib.sha256(data).hexdigest()
    with secure.client() as client:
        reply = client.post(f"/api/blobs/sha256:{digest}", content=data)
        assert reply.status_code == 201, reply.text
        assert client.head(f"/api/blobs/sha256:{digest}").status_code == 200
        reply = client.post("/api/show", json={"model": MODEL, "verbose": True})
        assert reply.status_code == 200 and len(reply.content) > 100_000


def test_old_versions_and_no_tls_at_all(secure):
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname = False
    old.verify_mode = ssl.CERT_NONE
    old.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(OSError):
        secure.connect(old)
    for noise in (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", b"\x16\x03\x01\xff\xff" + b"x" * 70000):
        with socket.create_connection((secure.host, secure.port), timeout=30) as plain:
            plain.sendall(noise)
            received = b""
            try:
                while piece := plain.recv(1000):
                    received += piece
            except ConnectionResetError:
                pass
            assert b"HTTP" not in received


def test_who_does_not_finish_the_handshake_is_let_go(secure):
    idle = [socket.create_connection((secure.host, secure.port), timeout=30) for _ in range(50)]
    with secure.client() as client:
        assert client.get("/api/version").status_code == 200
    for connection in idle:
        assert connection.recv(1) == b""
        connection.close()


def test_leaving_frees_the_engine(secure):
    body = (b'{"model":"%s","prompt":"Tell.","ignore_eos":true,"options":{"num_predict":100000}}'
            % MODEL.encode())
    head = b"POST /api/generate HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body)
    for is_clean in (True, False):
        connection = secure.connect()
        connection.sendall(head + body)
        assert b"200" in connection.recv(1000)
        if is_clean:
            with contextlib.suppress(ssl.SSLError):  # what the server still sends
                connection.unwrap()
        connection.close()
        with secure.client() as client:
            deadline = time.monotonic() + 20
            while client.get("/api/sluice/status").json()["num_running"] > 0:
                assert time.monotonic() < deadline
                time.sleep(0.02)


def test_pipelined_requests_and_the_end_of_a_connection(secure):
    connection = secure.connect()
    request = b"GET /api/version HTTP/1.1\r\nHost: localhost\r\n%s\r\n"
    connection.sendall(request % b"" + request % b"" + request % b"Connection: close\r\n")
    received = b""
    while piece := connection.recv(1000):  # a clean end: no error here
        received += piece
    assert received.count(b"HTTP/1.1 200") == 3
    connection.close()


def test_many_connections_opened_and_dropped(secure):
    def hurry():
        for i in range(30):
            connection = secure.connect()
            if i % 2:
                connection.sendall(b"GET /api/tags HTTP/1.1\r\nHost: localhost\r\n")
            connection.close()
    threads = [threading.Thread(target=hurry) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with secure.client() as client:
        deadline = time.monotonic() + 20
        while client.get("/api/sluice/status").json()["num_connections"] > 1:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    descriptors = len(os.listdir(f"/proc/{secure.process.pid}/fd"))
    assert descriptors < 60, descriptors


def serial_of(server):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with server.connect(context) as connection:
        return hashlib.sha256(connection.getpeercert(True)).hexdigest()


def test_certificates_are_read_again_at_sighup(home, tmp_path):
    make_certificate(tmp_path, "cert")
    server = TlsServer(home, tmp_path)
    try:
        before = serial_of(server)
        lasting = server.connect()

        def hang_up(word):
            seen = len(server.log)
            server.process.send_signal(signal.SIGHUP)
            deadline = time.monotonic() + 20
            while not any(word in line for line in server.log[seen:]):
                assert time.monotonic() < deadline, server.log
                time.sleep(0.02)

        good = (tmp_path / "cert.key").read_bytes()
        (tmp_path / "cert.key").write_bytes(b"nonsense")
        hang_up("stays as it was")
        assert serial_of(server) == before
        (tmp_path / "cert.key").write_bytes(good)
        make_certificate(tmp_path, "cert")
        hang_up("again")
        assert serial_of(server) != before
        lasting.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")  # is not cut
        assert b"200" in lasting.recv(1000)
    finally:
        assert server.stop() == 0


def test_the_server_ends_beside_clients_that_do_nothing(home, folder):
    server = TlsServer(home, folder)
    idle = [socket.create_connection((server.host, server.port), timeout=30), server.connect(),
            server.connect()]
    idle[2].sendall(b"POST /api/chat HTTP/1.1\r\n")
    started = time.monotonic()
    assert server.stop() == 0
    assert time.monotonic() - started < 8
    for connection in idle:
        connection.close()


@pytest.mark.parametrize("files, words", [
    ({"cert.pem": b"nonsense"}, "certificate in"),
    ({"cert.key": b"nonsense"}, "key in"),
    ({"cert.pem": None}, "certificate in"),
    ({"cert.key": "other"}, "mismatch"),
    ({"cert.key": "locked"}, "key in"),
])
def test_files_that_do_not_fit_are_told_at_the_start(home, folder, tmp_path, files, words):
    for name in ("cert.pem", "cert.key"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    for name, content in files.items():
        if content is None:
            (tmp_path / name).unlink()
        elif content == "other":
            make_certificate(tmp_path, "other")
            (tmp_path / name).write_bytes((tmp_path / "other.key").read_bytes())
        elif content == "locked":
            openssl("ec", "-aes128", "-passout", "pass:x", "-in", str(folder / "cert.key"), "-out",
                    "cert.key", cwd=tmp_path)
        else:
            (tmp_path / name).write_bytes(content)
    done = run_sluice("serve", "--port", "0", "--tls-cert", str(tmp_path / "cert.pem"), "--tls-key",
                      str(tmp_path / "cert.key"), home=home, check=False, timeout=30)
    assert done.returncode == 1 and words in done.stderr, done.stderr
    assert len(re.findall("Error", done.stderr)) == 1


def test_a_certificate_without_its_key(home, folder):
    done = run_sluice("serve", "--port", "0", "--tls-cert", str(folder / "cert.pem"), home=home,
                      check=False, timeout=30)
    assert done.returncode == 1 and "--tls-key" in done.stderr
