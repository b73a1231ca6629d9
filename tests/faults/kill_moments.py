"""kill -9 at random moments of what changes the store: what is left must be sound.

    python3 tests/faults/kill_moments.py [--moments 200] [--seed N]

Each moment starts a pull, an import, an export taken in again, a copy, a removal or an upload of a
blob (the last three at a server, which is killed), kills the process somewhere in the time that it
takes, and asks `sluice doctor`: nothing harmful, and every model that was there before still is,
byte for byte, unless it was the one to be removed. At the end what was left half done can be done
again. Prints the seed and, of a failure, what is wrong; ends with 1 then.
"""

import argparse
import collections
import hashlib
import http.client
import json
import os
import pathlib
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
SLUICE = os.environ.get("SLUICE_BIN", str(ROOT / "build/release/sluice"))
sys.path.insert(0, str(ROOT / "tests/faults"))
from hostile_registry import HostileRegistry  # noqa: E402


class Store:
    def __init__(self, home):
        self.home = home
        self.environment = {k: v for k, v in os.environ.items()
                            if not k.startswith(("SLUICE_", "OLLAMA_"))}
        self.environment.update(HOME=str(home), SLUICE_MODELS=str(home / "models"),
                                SLUICE_HOST="127.0.0.1:9")

    def start(self, *arguments, **options):
        return subprocess.Popen([SLUICE, *arguments], env=self.environment, stdin=subprocess.DEVNULL,
                                **{"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL,
                                   **options})

    def run(self, *arguments, check=True):
        return subprocess.run([SLUICE, *arguments], env=self.environment, check=check, text=True,
                              stdin=subprocess.DEVNULL, capture_output=True)

    def models(self):
        """Name to the manifest's digest; a model that cannot be read is a failure."""
        rows = self.run("list").stdout.splitlines()[1:]
        return {row.split()[0]: row.split()[1] for row in rows}


class Moments:
    def __init__(self, folder, seed):
        self.random = random.Random(seed)
        self.folder = folder
        self.store = Store(folder / "home")
        self.store.home.mkdir()
        self.files = []
        for i in range(3):
            path = folder / f"m{i}.gguf"
            subprocess.run([sys.executable, ROOT / "tests/tools/make_model.py", path, "--shape", "tiny",
                            "--type", "F16"], check=True, stdout=subprocess.DEVNULL)
            with open(path, "ab") as file:
                file.write(self.random.randbytes(6_000_000))
            self.files.append(path)
        shelf = Store(folder / "shelf")
        shelf.home.mkdir()
        for i, path in enumerate(self.files):
            shelf.run("import", str(path), f"me/shelf:{i}")
        shelf.run("export", "me/shelf:0", str(folder / "exported.tar"))
        self.registry = HostileRegistry(shelf.home / "models")
        self.longest = collections.defaultdict(lambda: 0.3)  # seconds that each kind takes

    def command(self, kind):
        number = self.random.randrange(3)
        name = f"own/{kind}:{number}"
        if kind == "pull":
            return ["pull", "--insecure", f"{self.registry.host}/me/shelf:{number}"], None
        if kind == "import":
            return ["import", str(self.files[number]), name], name
        if kind == "archive":
            return ["import", str(self.folder / "exported.tar"), name], name
        present = list(self.store.models())
        if kind == "rm" and present:
            name = self.random.choice(present)
            return ["rm", name], name
        if kind == "cp" and present:
            return ["cp", self.random.choice(present), name], name
        return ["import", str(self.files[number]), name], name

    def upload(self):
        """A server that is killed while a blob comes in."""
        server = self.store.start("serve", "--port", "0", stderr=subprocess.PIPE, text=True)
        for line in server.stderr:
            if found := re.search(r"listening on http://([\d.]+):(\d+)", line):
                break
        threading.Thread(target=server.stderr.read, daemon=True).start()
        data = self.random.randbytes(8_000_000)

        def send():
            try:
                client = http.client.HTTPConnection(found[1], int(found[2]), timeout=20)
                client.request("POST", f"/api/blobs/sha256:{hashlib.sha256(data).hexdigest()}", data)
                client.getresponse().read()
            except (OSError, http.client.HTTPException):
                pass

        sender = threading.Thread(target=send)
        sender.start()
        time.sleep(self.random.uniform(0, 0.15))
        server.send_signal(signal.SIGKILL)
        server.wait()
        sender.join()

    def kill_once(self, kind):
        """The name that may have changed."""
        if kind == "upload":
            self.upload()
            return None
        command, name = self.command(kind)
        started = time.monotonic()
        process = self.store.start(*command)
        try:
            process.wait(self.random.uniform(0, self.longest[kind] * 1.2))
            self.longest[kind] = (self.longest[kind] + time.monotonic() - started) / 2
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            self.longest[kind] *= 1.02
        return name

    def check(self, before, changed):
        doctor = self.store.run("doctor", check=False)
        if doctor.returncode != 0:
            return doctor.stdout + doctor.stderr
        after = self.store.models()
        lost = [name for name in before
                if after.get(name) != before[name] and name not in (changed, f"{changed}:latest")]
        return f"lost or changed: {lost}" if lost else None

    def go(self, count):
        kinds = ["pull"] * 3 + ["import", "archive", "cp", "rm", "upload"]
        counts = collections.Counter()
        with self.registry:
            for moment in range(count):
                kind = self.random.choice(kinds)
                before = self.store.models()
                changed = self.kill_once(kind)
                counts[kind] += 1
                if wrong := self.check(before, changed):
                    print(f"moment {moment}, {kind}: {wrong}")
                    return False
                if moment % 20 == 19:
                    self.store.run("doctor", "--repair")
            for number in range(3):  # whatever was left, it can be done
                self.store.run("pull", "--insecure", f"{self.registry.host}/me/shelf:{number}")
        print(json.dumps(counts))
        return self.check({}, None) is None


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--moments", type=int, default=200)
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        is_sound = Moments(pathlib.Path(folder), options.seed).go(options.moments)
    print(f"{options.moments} moments: {'sound' if is_sound else 'NOT sound'}")
    sys.exit(0 if is_sound else 1)


if __name__ == "__main__":
    main()
