"""Starts and stops the servers that bench/serving.py and scripts/soak.py drive."""
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "bench/peers"))
import llama_cpp  # noqa: E402

SLUICE = os.environ.get("SLUICE_BIN", os.path.join(ROOT, "build/release/sluice"))
FOLDER = os.path.join(ROOT, "build/serving")  # store, logs, raw figures


def say(text):
    print(f"==> {text}", file=sys.stderr, flush=True)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def model_name(path):
    return os.path.basename(path).removesuffix(".gguf").lower()


def shielded(options, is_server=True):
    """The command's beginning that shields it from other work on the machine, alike on all sides.
    With "fifo" (real time) the threads of a server that wait for each other in a loop can keep its
    own socket thread from running: latencies suffer, throughput does not."""
    if options.shield == "nice":
        return ["nice", "-n", "-19"]
    return ["chrt", "-f", "1" if is_server else "2"] if options.shield == "fifo" else []


def shield_this_process(options):
    """For the few requests that this program times itself."""
    if options.shield == "nice":
        os.setpriority(os.PRIO_PROCESS, 0, -19)
    elif options.shield == "fifo":
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(2))


class Server:
    """A child process that listens on a port of this machine; use it in a `with`."""

    def __init__(self, label, command, port, log_name):
        os.makedirs(FOLDER, exist_ok=True)
        self.label, self.command, self.port = label, command, port
        self.log_path = os.path.join(FOLDER, f"{log_name}-{port}.log")
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            self.wait_ready()
        except BaseException:
            self.stop()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    @property
    def url(self):
        return f"127.0.0.1:{self.port}"

    def get(self, path, timeout=30):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request("GET", path)
            reply = connection.getresponse()
            return reply.status, reply.read()
        finally:
            connection.close()

    def wait_ready(self, seconds=180):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.process.poll() is not None:
                break
            try:
                if self.get(self.ready_path)[0] == 200:
                    return
            except OSError:
                pass
            time.sleep(0.1)
        raise SystemExit(f"Error: {self.label} did not start; its log is {self.log_path}")

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def memory(self, field="VmRSS"):
        """Bytes of resident memory (VmHWM: the most there were)."""
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as file:
            for line in file:
                if line.startswith(field + ":"):
                    return int(line.split()[1]) * 1024
        return 0

    def settled_memory(self):
        """Resident memory, bytes, once it has not changed by half a megabyte in two seconds."""
        latest = self.memory()
        for _ in range(60):
            time.sleep(2)
            previous, latest = latest, self.memory()
            if abs(latest - previous) < 500_000:
                break
        return latest

    def shown_command(self):
        """As one would type it: without this machine's folders, ports and shields."""
        words = [os.path.basename(word) if "/" in word else word for word in self.command]
        if words[0] in ("chrt", "nice"):
            words = words[3:]
        text = " ".join(words)
        return text.replace(f" --port {self.port}", "").replace(" --models store", "")


class Sluice(Server):
    ready_path = "/api/version"

    def __init__(self, models, arguments, options):
        store = os.path.join(FOLDER, "store")
        for path in models:
            import_model(path, store)
        port = free_port()
        command = [*shielded(options), SLUICE, "serve", "--port", str(port), "--models", store,
                   *arguments]
        super().__init__("Sluice", command, port, "sluice")

    def status(self):
        return json.loads(self.get("/api/sluice/status")[1])


def import_model(path, store):
    for extra in (["--hard-link"], []):
        done = subprocess.run([SLUICE, "import", path, model_name(path), "--models", store, *extra],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              check=False)
        if done.returncode == 0:
            return
    raise SystemExit(f"Error: cannot import {path}: {done.stdout}")


class LlamaServer(Server):
    ready_path = "/health"

    def __init__(self, model, arguments, options, label="llama.cpp"):
        port = free_port()
        command = [*shielded(options), f"{llama_cpp.build_peer()}/llama-server", "-m", model,
                   "--port", str(port), *arguments]
        super().__init__(label, command, port, "llama-server")


def llama_arguments(slots, context):
    """What served the peer best: as many slots as clients, no copies of idle slots' caches."""
    return ["-t", str(os.cpu_count()), "-fa", "on", "--parallel", str(slots), "-c",
            str(slots * context), "--cache-ram", "0"]


class OpenVino:
    """OpenVINO GenAI in a process of its own (bench/peers/openvino_driver.py), in its own virtual
    environment; answers one line of JSON for each line asked."""

    def __init__(self, model, options):
        self.label = "OpenVINO"
        python = openvino_python()
        script = os.path.join(ROOT, "bench/peers/openvino_driver.py")
        os.makedirs(FOLDER, exist_ok=True)
        with open(os.path.join(FOLDER, "openvino.log"), "wb") as log:
            self.process = subprocess.Popen(
                [*shielded(options), python, script, model], stdin=subprocess.PIPE,
                stdout=subprocess.PIPE, stderr=log, text=True)
        self.first = self.answer()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def answer(self):
        for line in self.process.stdout:  # the library prints lines of its own
            if line.startswith('{"figures"'):
                return json.loads(line)["figures"]
        raise ChildProcessError("OpenVINO GenAI ended; its log is build/serving/openvino.log")

    def ask(self, **question):
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()
        return self.answer()


def openvino_python():
    folder = os.path.join(ROOT, "build/openvino")
    python = os.path.join(folder, "bin/python")
    if not os.path.exists(os.path.join(folder, ".installed")):
        say("Fetching OpenVINO GenAI")
        if not os.path.exists(python):
            subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", "-q", "openvino-genai==2026.4.1.0",
                        "openvino-tokenizers==2026.4.1.0"], check=True, stdout=sys.stderr)
        with open(os.path.join(folder, ".installed"), "w", encoding="ascii"):
            pass
    return python


def loadtest(server, model, arguments, options):
    """`sluice loadtest` against the server; the points of its report."""
    path = os.path.join(FOLDER, f"loadtest-{server.port}.json")
    command = [*shielded(options, is_server=False), SLUICE, "loadtest", server.url, "--api",
               "openai", "--model", model, "--json", path, *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          check=False)
    if done.returncode != 0:
        say(f"{server.label}: {done.stderr.strip().splitlines()[-1]}")
    if not os.path.exists(path):
        raise SystemExit(f"Error: no figures of {server.label}: {done.stderr}")
    with open(path, encoding="utf-8") as file:
        points = json.load(file)["points"]
    os.remove(path)
    return points
