"""Pull and push against a real registry, and pull from one that is hostile (tests/faults)."""

import contextlib
import hashlib
import http.client
import json
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import ollama
import pytest

from conftest import ROOT, Server, clean_environment, make_tiny_model, program, run_sluice

sys.path.insert(0, str(ROOT / "tests/faults"))
from hostile_registry import FAULTS, HostileRegistry  # noqa: E402


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def running_registry(folder, tls=""):
    """Debian's docker-registry on loopback; its address."""
    binary = shutil.which("docker-registry")
    if not binary:
        pytest.skip("docker-registry is not installed")
    address = f"127.0.0.1:{free_port()}"
    (folder / "config.yml").write_text(
        f"version: 0.1\nlog: {{level: error}}\nhttp: {{addr: '{address}'{tls}}}\n"
        f"storage: {{filesystem: {{rootdirectory: '{folder}/data'}}}}\n")
    process = subprocess.Popen([binary, "serve", folder / "config.yml"], cwd=folder,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    host, port = address.split(":")
    for _ in range(200):
        with contextlib.suppress(OSError), socket.create_connection((host, int(port))):
            break
        time.sleep(0.05)
    yield address
    process.terminate()
    process.wait(10)


@pytest.fixture(scope="module")
def docker_registry(tmp_path_factory):
    with running_registry(tmp_path_factory.mktemp("registry")) as address:
        yield address


@pytest.fixture(scope="module")
def tls_registry(tmp_path_factory):
    """Over HTTPS, with a certificate that only `ca_file` vouches for; its address and that file."""
    if not shutil.which("openssl"):
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("tls_registry")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                    "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj",
                    "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout",
                    folder / "key.pem", "-out", folder / "cert.pem"], check=True,
                   capture_output=True)
    tls = f", tls: {{certificate: '{folder}/cert.pem', key: '{folder}/key.pem'}}"
    with running_registry(folder, tls) as address:
        yield address, folder / "cert.pem"


def online(home):
    return dict(clean_environment(home), SLUICE_OFFLINE="0", SLUICE_HOST="127.0.0.1:9")


def sluice(home, *arguments, check=True, timeout=120):
    return subprocess.run([program(), *arguments], env=online(home), stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, check=check, timeout=timeout)


def make_model(path, size, seed=1):
    """A valid model file of about that size, whose bytes are random."""
    make_tiny_model(path)
    with open(path, "ab") as file:
        file.write(random.Random(seed).randbytes(size))
    return path


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    """A store with a model of 20 MB, for registries to serve from."""
    home = tmp_path_factory.mktemp("shelf")
    make_model(home / "m.gguf", 20_000_000)
    run_sluice("import", str(home / "m.gguf"), "me/model:1", home=home)
    return home / "models"


@pytest.fixture
def fresh(tmp_path):
    return tmp_path


def start_server(home, monkeypatch):
    import conftest
    monkeypatch.setattr(conftest, "clean_environment", online)
    return Server(home)


def weights(models):
    return max((models / "blobs").iterdir(), key=lambda path: path.stat().st_size)


def is_sound(home):
    result = sluice(home, "doctor", check=False)
    return result.returncode == 0, result.stdout


def test_a_model_goes_to_a_registry_and_comes_back(docker_registry, fresh):
    name = f"{docker_registry}/me/model:1"
    make_model(fresh / "m.gguf", 90_000_000)  # more than a part
    sluice(fresh, "import", str(fresh / "m.gguf"), name)
    before = sluice(fresh, "list").stdout.split()
    sluice(fresh, "push", "--insecure", name)
    sluice(fresh, "rm", name)
    assert not list((fresh / "models/blobs").iterdir())
    result = sluice(fresh, "pull", "--insecure", name)
    assert result.stderr.splitlines()[0] == "pulling manifest"
    assert result.stderr.splitlines()[-1] == "success"
    assert sluice(fresh, "list").stdout.split()[:8] == before[:8]
    assert weights(fresh / "models").read_bytes() == (fresh / "m.gguf").read_bytes()
    assert is_sound(fresh)[0]


def test_a_registry_over_https_is_believed_only_with_its_certificate(tls_registry, fresh,
                                                                     monkeypatch):
    address, ca_file = tls_registry
    make_model(fresh / "m.gguf", 1_000_000)
    sluice(fresh, "import", str(fresh / "m.gguf"), f"{address}/me/model:1")
    refused = sluice(fresh, "push", f"{address}/me/model:1", check=False)
    assert refused.returncode == 1 and "certificate" in refused.stderr, refused.stderr
    monkeypatch.setenv("SSL_CERT_FILE", str(ca_file))
    sluice(fresh, "push", f"{address}/me/model:1")
    run_sluice("rm", f"{address}/me/model:1", home=fresh)
    sluice(fresh, "pull", f"{address}/me/model:1")
    monkeypatch.delenv("SSL_CERT_FILE")
    refused = sluice(fresh, "pull", f"{address}/me/model:1", check=False)
    assert refused.returncode == 1 and "certificate" in refused.stderr, refused.stderr
    sluice(fresh, "pull", "--insecure", f"https://{address}/me/model:1")


def test_a_name_that_is_not_there_says_so(docker_registry, fresh):
    result = sluice(fresh, "pull", "--insecure", f"{docker_registry}/me/nothing", check=False)
    assert result.returncode == 1
    assert "Error: pull model manifest: file does not exist" in result.stderr
    assert not list(fresh.glob("models/manifests/*"))


def test_run_fetches_what_is_not_there(docker_registry, fresh):
    name = f"{docker_registry}/me/tiny:1"
    make_tiny_model(fresh / "m.gguf")
    sluice(fresh, "import", str(fresh / "m.gguf"), name)
    sluice(fresh, "push", "--insecure", name)
    sluice(fresh, "rm", name)
    result = sluice(fresh, "run", "--insecure", "--num-predict", "2", name, "hi")
    assert "pulling manifest" in result.stderr
    assert name in sluice(fresh, "list").stdout


def test_plan_looks_at_the_head_that_a_registry_has(docker_registry, fresh):
    name = f"{docker_registry}/me/planned:1"
    make_model(fresh / "m.gguf", 20_000_000)
    sluice(fresh, "import", str(fresh / "m.gguf"), name)
    described = ["--ctx", "512", "--memory", "1GB", "--bandwidth", "10GB/s", "--json"]
    local = json.loads(sluice(fresh, "plan", name, *described).stdout)
    sluice(fresh, "push", "--insecure", name)
    sluice(fresh, "rm", name)
    remote = json.loads(sluice(fresh, "plan", "--insecure", name, *described).stdout)
    assert remote.pop("model") == f"{name} (in its registry)" and local.pop("model") == name
    assert remote == local
    assert not list((fresh / "models/blobs").iterdir())
    missing = sluice(fresh, "plan", "--insecure", f"{docker_registry}/me/nothing", check=False)
    assert missing.returncode == 1 and "file does not exist" in missing.stderr


def test_offline_opens_no_connection(shelf, fresh):
    with HostileRegistry(shelf) as registry:
        name = f"{registry.host}/me/model:1"
        result = subprocess.run([program(), "pull", "--insecure", name], capture_output=True,
                                text=True, env=dict(online(fresh), SLUICE_OFFLINE="1"), check=False)
        assert result.returncode == 1 and "offline" in result.stderr
        assert not registry.requests


def test_ollamas_client_sees_its_lines(docker_registry, fresh, monkeypatch):
    name = f"{docker_registry}/me/lines:1"
    make_model(fresh / "m.gguf", 3_000_000)
    sluice(fresh, "import", str(fresh / "m.gguf"), name)
    server = start_server(fresh, monkeypatch)
    try:
        client = ollama.Client(host=server.url)
        pushed = [line.status for line in client.push(name, insecure=True, stream=True)]
        assert pushed[0] == "retrieving manifest"
        assert pushed[-2:] == ["pushing manifest", "success"]
        client.delete(name)
        lines = list(client.pull(name, insecure=True, stream=True))
        assert lines[0].status == "pulling manifest"
        assert [line.status for line in lines][-3:] == [
            "verifying sha256 digest", "writing manifest", "success"]
        blobs = [line for line in lines if line.digest]
        assert all(line.status == f"pulling {line.digest[7:19]}" for line in blobs)
        assert blobs[0].total > 3_000_000
        assert client.pull(name, insecure=True).status == "success"
        with pytest.raises(ollama.ResponseError, match="file does not exist"):
            client.pull(f"{docker_registry}/me/nothing", insecure=True)
    finally:
        assert server.stop() == 0


def test_clients_share_a_download_that_ends_with_the_last(shelf, fresh, monkeypatch):
    server = start_server(fresh, monkeypatch)
    with HostileRegistry(shelf) as registry:
        registry.faults["blob"] = ["stall*"]
        body = json.dumps({"model": f"{registry.host}/me/model:1", "insecure": True})
        clients = []
        for _ in range(3):
            client = http.client.HTTPConnection(server.host, server.port, timeout=30)
            client.request("POST", "/api/pull", body)
            clients.append((client, client.getresponse()))
        for _, reply in clients:
            assert json.loads(reply.readline()) == {"status": "pulling manifest"}
            assert json.loads(reply.readline())["status"].startswith("pulling ")
        assert sum(kind == "manifest" for kind, *_ in registry.requests) == 1
        clients.pop()[0].close()
        registry.faults["blob"] = []
        statuses = [[json.loads(line)["status"] for line in reply] for _, reply in clients]
        assert all(lines[-1] == "success" for lines in statuses)
        # Once more, and everybody leaves.
        sluice(fresh, "rm", f"{registry.host}/me/model:1")
        registry.faults["blob"] = ["drip*"]
        client = http.client.HTTPConnection(server.host, server.port, timeout=30)
        client.request("POST", "/api/pull", body)
        reply = client.getresponse()
        reply.readline()
        reply.readline()
        client.close()
        reply.close()
        time.sleep(1)
        before = len(registry.requests)
        time.sleep(2)
        assert len(registry.requests) == before
    assert server.stop() == 0


# What a fault on a manifest or on blobs, once or always, leads to: success, or an error that says so.
# (A stall takes its time; the room's own tests shorten that.)
HARMLESS_ONCE = {"cut", "refuse", "corrupt", "truncate", "busy", "error", "no_ranges"}


@pytest.mark.parametrize("fault", [f for f in FAULTS if f in HARMLESS_ONCE])
def test_a_pull_survives_what_happens_once(shelf, fresh, fault):
    with HostileRegistry(shelf) as registry:
        registry.faults["blob"] = [fault] * 2
        sluice(fresh, "pull", "--insecure", f"{registry.host}/me/model:1")
    assert weights(fresh / "models").read_bytes() == weights(shelf).read_bytes()
    assert is_sound(fresh)[0]


LIES = {
    "blob": ["corrupt*", "longer*", "other_total*", "other_range*", "loop*", "to_metadata*",
             "to_file*", "endless_head*", "endless_body*", "html*", "gzip*", "foreign_realm*"],
    "manifest": ["html*", "deep*", "many_layers*", "traversal*", "sizes*", "huge_sizes*", "loop*",
                 "to_metadata*", "endless_head*", "endless_body*", "foreign_realm*", "gzip*"],
}


@pytest.mark.parametrize("kind,fault", [(k, f) for k, faults in LIES.items() for f in faults])
def test_a_lying_registry_is_told_and_leaves_nothing(shelf, fresh, kind, fault):
    with HostileRegistry(shelf) as registry:
        registry.faults[kind] = [fault]
        started = time.monotonic()
        result = sluice(fresh, "pull", "--insecure", f"{registry.host}/me/model:1", check=False)
        assert time.monotonic() - started < 60
        if fault == "gzip*":  # a label alone: the bytes are right
            assert result.returncode == 0
            return
        assert result.returncode == 1, result.stderr
        assert "Error: " in result.stderr
    assert not list(fresh.glob("models/manifests/*"))
    assert not [path for path in fresh.glob("models/blobs/sha256-*")
                if hashlib.sha256(path.read_bytes()).hexdigest() != path.name[7:]]
    assert is_sound(fresh)[0]


def test_a_full_disk_is_told_before_anything_is_fetched(shelf, fresh):
    with HostileRegistry(shelf) as registry:
        registry.faults["manifest"] = ["huge_sizes"]
        result = sluice(fresh, "pull", "--insecure", f"{registry.host}/me/model:1", check=False)
        assert "not enough space" in result.stderr and "free" in result.stderr
        assert all(kind != "blob" for kind, *_ in registry.requests)


@contextlib.contextmanager
def small_disk(folder, size_bytes):
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "none", folder],
                             capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("mounting a small disk needs root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def fill(path, leave_bytes):
    """Takes what is free on the disk but for that."""
    free = shutil.disk_usage(path.parent).free
    with contextlib.suppress(OSError), open(path, "wb") as file:
        file.write(bytes(max(0, free - leave_bytes)))


def asked_bytes(registry):
    """How much of blobs was asked for."""
    total = 0
    for kind, _, headers in registry.requests:
        span = {name.lower(): value for name, value in headers.items()}.get("range", "")
        if kind == "blob" and span:
            first, last = span.removeprefix("bytes=").split("-")
            total += int(last) + 1 - int(first)
    return total


@pytest.mark.parametrize("left", [0, 3_000_000])
def test_a_disk_that_fills_up_is_told_and_the_pull_goes_on_when_there_is_room(shelf, fresh, left):
    with HostileRegistry(shelf) as registry, small_disk(fresh / "models", 40_000_000) as models:
        name = f"{registry.host}/me/model:1"
        make_tiny_model(fresh / "other.gguf")
        run_sluice("import", str(fresh / "other.gguf"), "other:1", home=fresh)
        find, num_asked = registry.find, 0

        def find_and_fill(path):  # others write to the disk, too, when much has come already
            nonlocal num_asked
            kind, data = find(path)
            num_asked += kind == "blob"
            if num_asked == 12 and not (models / "filler").exists():
                fill(models / "filler", left)
            return kind, data

        registry.find = find_and_fill
        started = time.monotonic()
        failed = sluice(fresh, "pull", "--insecure", name, check=False)
        assert (models / "filler").exists() and failed.returncode == 1
        assert "No space left on device" in failed.stderr, failed.stderr
        assert time.monotonic() - started < 30
        assert not list(models.glob("manifests/127*"))
        listed = sluice(fresh, "list").stdout
        assert "other:1" in listed and "me/model" not in listed
        (models / "filler").unlink()
        assert is_sound(fresh)[0]
        registry.find = find
        registry.requests.clear()
        sluice(fresh, "pull", "--insecure", name)
        assert 0 < asked_bytes(registry) < weights(shelf).stat().st_size
        assert weights(models).read_bytes() == weights(shelf).read_bytes()
        assert is_sound(fresh)[0]


def test_a_pull_goes_on_after_a_kill(shelf, fresh):
    with HostileRegistry(shelf) as registry:
        name = f"{registry.host}/me/model:1"
        registry.faults["blob"] = ["cut"] * 8 + ["stall*"]
        process = subprocess.Popen([program(), "pull", "--insecure", name], env=online(fresh),
                                   stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 30
        while len(registry.requests) < 12 and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
        registry.faults["blob"] = []
        registry.requests.clear()
        sluice(fresh, "pull", "--insecure", name)
        assert 0 < asked_bytes(registry) < weights(shelf).stat().st_size
    assert is_sound(fresh)[0]


def test_blobs_are_streamed_to_the_disk(server, home):
    data = random.Random(3).randbytes(40_000_000)  # more than a body may have
    digest = hashlib.sha256(data).hexdigest()

    def status(method, digest, body=None):
        client = http.client.HTTPConnection(server.host, server.port, timeout=60)
        client.request(method, f"/api/blobs/sha256:{digest}", body)
        reply = client.getresponse()
        return reply.status, reply.read()

    assert status("HEAD", digest)[0] == 404
    pieces = (data[i:i + 1_000_000] for i in range(0, len(data), 1_000_000))
    assert status("POST", digest, pieces) == (201, b"")  # chunked
    assert status("HEAD", digest)[0] == 200
    assert status("POST", digest, data)[0] == 200
    code, body = status("POST", "0" * 64, b"something")
    assert code == 400 and b"digest mismatch" in body
    assert status("POST", "../../etc/passwd", b"x")[0] == 400
    assert status("POST", digest[:63], b"x") == (400, b'{"error":"invalid digest format"}')
    assert status("GET", digest)[0] == 405
    # A client that goes leaves nothing behind.
    client = socket.create_connection((server.host, server.port))
    client.sendall(b"POST /api/blobs/sha256:" + b"1" * 64 +
                   b" HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 5000)
    time.sleep(0.3)
    client.close()
    deadline = time.monotonic() + 10
    while list((home / "models/blobs").glob("sluice-tmp-*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not list((home / "models/blobs").glob("sluice-tmp-*"))
    (home / "models/blobs" / f"sha256-{digest}").unlink()


def test_many_uploads_at_once_are_bounded(server):
    sockets = []
    try:
        for i in range(24):
            client = socket.create_connection((server.host, server.port))
            client.sendall(f"POST /api/blobs/sha256:{i:064d} HTTP/1.1\r\nHost: localhost\r\n"
                           "Content-Length: 1000\r\n\r\n".encode())
            sockets.append(client)
        time.sleep(0.5)
        refused = 0
        for client in sockets:
            client.settimeout(0.05)
            with contextlib.suppress(TimeoutError):
                refused += client.recv(1000).startswith(b"HTTP/1.1 503")
        assert refused == 8
    finally:
        for client in sockets:
            client.close()
    time.sleep(0.3)


def test_a_model_moves_as_one_file(fresh):
    make_model(fresh / "m.gguf", 3_000_000)
    run_sluice("import", str(fresh / "m.gguf"), "mine:7b", home=fresh)
    run_sluice("export", "mine:7b", str(fresh / "mine.tar"), home=fresh)
    other = fresh / "other"
    other.mkdir()
    assert "imported mine:7b" in run_sluice("import", str(fresh / "mine.tar"), home=other).stdout
    assert weights(other / "models").read_bytes() == (fresh / "m.gguf").read_bytes()
    assert run_sluice("doctor", home=other).stdout.strip().endswith("sound")
    damaged = bytearray((fresh / "mine.tar").read_bytes())
    damaged[2_000_000] ^= 1
    (fresh / "mine.tar").write_bytes(damaged)
    third = fresh / "third"
    third.mkdir()
    result = run_sluice("import", str(fresh / "mine.tar"), home=third, check=False)
    assert result.returncode == 1 and "digest mismatch" in result.stderr
    assert not list(third.glob("models/manifests/*"))


def test_a_file_comes_from_a_web_address(fresh):
    import http.server
    import threading
    make_model(fresh / "m.gguf", 3_000_000)
    handler = type("Quiet", (http.server.SimpleHTTPRequestHandler,), {
        "__init__": lambda self, *a: http.server.SimpleHTTPRequestHandler.__init__(
            self, *a, directory=str(fresh)),
        "log_message": lambda *_: None})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as web:  # knows no ranges
        threading.Thread(target=web.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{web.server_port}/m.gguf"
        assert "--insecure" in sluice(fresh, "pull", url, "mine:7b", check=False).stderr
        sluice(fresh, "pull", "--insecure", url, "mine:7b")
        web.shutdown()
    assert weights(fresh / "models").read_bytes() == (fresh / "m.gguf").read_bytes()
    assert is_sound(fresh)[0]


def test_a_kill_at_any_moment_leaves_a_sound_store():
    """A few moments; tests/faults/kill_moments.py alone tries 200."""
    done = subprocess.run([sys.executable, ROOT / "tests/faults/kill_moments.py", "--moments", "16"],
                          capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
