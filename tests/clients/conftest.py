"""Starts the real server once for the whole suite, on a free port, with a store of its own.

SLUICE_BIN: the program (default build/release/sluice). SLUICE_TEST_MODELS: a folder with
smollm2-135m-q4_1.gguf, which is then used; otherwise a tiny synthetic model is made.
"""

import json
import os
import pathlib
import re
import subprocess
import sys
import threading
import time
import urllib.request

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
MODEL = "test-model:tiny"


def program():
    path = pathlib.Path(os.environ.get("SLUICE_BIN", ROOT / "build/release/sluice"))
    if not path.exists():
        pytest.skip(f"{path} is not built", allow_module_level=True)
    return str(path)


def run_sluice(*arguments, home, text=None, check=True, timeout=120, environment=None):
    """Runs the program with nothing of the developer's own settings."""
    return subprocess.run(
        [program(), *arguments], env={**clean_environment(home), **(environment or {})}, input=text,
        stdin=None if text is not None else subprocess.DEVNULL,
        capture_output=True, text=True, check=check, timeout=timeout)


def clean_environment(home):
    keep = {k: v for k, v in os.environ.items() if not k.startswith(("SLUICE_", "OLLAMA_"))}
    return dict(keep, HOME=str(home), SLUICE_MODELS=str(home / "models"), SLUICE_OFFLINE="1")


def with_cards():
    """An environment in which there are two GPUs to be watched (tests/tools/fake_nvml.cpp)."""
    folder = ROOT / "build/release/tests/nvml"
    if not (folder / "libnvidia-ml.so.1").exists():
        pytest.skip("build/release has no fake NVML (target fakenvml)")
    return {"LD_LIBRARY_PATH": str(folder)}


def make_tiny_model(path, *arguments):
    tool = ROOT / "tests/tools/make_model.py"
    subprocess.run([sys.executable, tool, path, "--shape", "tiny", "--type", "F16", *arguments],
                   check=True, stdout=subprocess.DEVNULL)


class Server:
    """A running `sluice serve`; its log is kept for failures."""

    def __init__(self, home, *arguments, scheme="http", environment=None):
        self.process = subprocess.Popen(
            [program(), "serve", "--port", "0", *arguments],
            env={**clean_environment(home), **(environment or {})},
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        self.log = []
        self.url = None
        ready = threading.Event()

        def read():
            for line in self.process.stderr:
                self.log.append(line)
                if found := re.search(r"listening on (https?://\S+)", line):
                    self.url = found.group(1)
                    ready.set()
            ready.set()

        threading.Thread(target=read, daemon=True).start()
        assert ready.wait(60) and self.url, "".join(self.log)
        self.host, port = self.url.removeprefix(f"{scheme}://").rsplit(":", 1)
        self.port = int(port)

    def get(self, path):
        with urllib.request.urlopen(self.url + path, timeout=30) as reply:
            return json.load(reply)

    def post(self, path, body, method="POST"):
        """Status and decoded body; never raises for an HTTP error."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data=data, method=method)
        try:
            with urllib.request.urlopen(request, timeout=120) as reply:
                text = reply.read()
                return reply.status, json.loads(text) if text else None
        except urllib.error.HTTPError as error:
            text = error.read()
            return error.code, json.loads(text) if text.startswith(b"{") else text

    def status(self):
        return self.get("/api/sluice/status")

    def wait_for(self, is_reached, seconds):
        """The first status for which `is_reached` holds. A limit is for hangs, not for speed."""
        start = time.monotonic()
        while time.monotonic() - start < seconds:
            status = self.status()
            if is_reached(status):
                return status
            time.sleep(0.02)
        raise AssertionError(f"not reached after {seconds} s: {status}")

    def wait_until_idle(self, seconds):
        """The status when nothing runs or waits and nobody holds a model."""
        return self.wait_for(
            lambda status: status["num_running"] == status["num_waiting"] == 0
            and all(model.get("num_leases", 0) == 0 for model in status["models"]), seconds)

    def stop(self, timeout=30):
        self.process.terminate()
        return self.process.wait(timeout)


@pytest.fixture(scope="session")
def home(tmp_path_factory):
    program()
    folder = tmp_path_factory.mktemp("home")
    real = pathlib.Path(os.environ.get("SLUICE_TEST_MODELS", "/nowhere"))
    model = real / "smollm2-135m-q4_1.gguf"
    if not model.exists():
        model = folder / "tiny.gguf"
        make_tiny_model(model)
    run_sluice("import", str(model), MODEL, home=folder)
    return folder


@pytest.fixture(scope="session")
def server(home):
    server = Server(home, "--log-level", "debug")
    yield server
    log = "".join(server.log)
    code = server.stop()
    assert code == 0, f"the server ended with {code}:\n{log[-5000:]}"


@pytest.fixture(scope="session")
def tool_server(tmp_path_factory):
    from tool_models import start_tool_server  # which is made of what is here

    server = start_tool_server(tmp_path_factory.mktemp("tools"))
    yield server
    assert server.stop() == 0, "".join(server.log)[-5000:]


@pytest.fixture(autouse=True)
def server_survives(request):
    """Whatever a test sends, the next good request is answered."""
    yield
    if "server" in request.fixturenames:
        server = request.getfixturevalue("server")
        assert server.process.poll() is None, "".join(server.log)[-5000:]
        assert server.get("/api/version")["version"]
