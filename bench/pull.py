"""How fast `sluice pull` is beside curl: the same blob, from the same registry on loopback.

    python3 bench/pull.py [--size-mb 1000] [--rounds 5] [--folder /tmp]

curl fetches it with 8 ranges at once into 8 files, and that is all it does. Sluice also checks the
digest and brings everything to the disk before it gives it its name: what that costs otherwise is told
by curl's time with a sync behind it, and with `openssl dgst -sha256` too. Needs Debian's docker-registry
and curl. Prints medians.
"""

import argparse
import hashlib
import json
import os
import pathlib
import shutil
import socket
import statistics
import subprocess
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[1]
SLUICE = os.environ.get("SLUICE_BIN", str(ROOT / "build/release/sluice"))
RANGES = 8


def start_registry(folder):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    (folder / "config.yml").write_text(
        f"version: 0.1\nlog: {{level: error}}\nhttp: {{addr: '{address}'}}\n"
        f"storage: {{filesystem: {{rootdirectory: '{folder}/data'}}}}\n")
    process = subprocess.Popen(["docker-registry", "serve", folder / "config.yml"], cwd=folder,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(100):
        try:
            urllib.request.urlopen(f"http://{address}/v2/").close()
            return process, address
        except OSError:
            time.sleep(0.05)
    raise SystemExit("docker-registry does not answer")


def add_blob(store, pieces):
    """Never all of it in memory: a program that is started from here would be told to have had it."""
    digest, size = hashlib.sha256(), 0
    blobs = store / "blobs"
    blobs.mkdir(parents=True, exist_ok=True)
    with open(blobs / "new", "wb") as file:
        for piece in pieces:
            file.write(piece)
            digest.update(piece)
            size += len(piece)
    (blobs / "new").rename(blobs / f"sha256-{digest.hexdigest()}")
    return {"digest": f"sha256:{digest.hexdigest()}", "size": size}


def make_store(store, address, size):
    """A store whose one model has random bytes as weights: nobody looks into them."""
    model = dict(add_blob(store, (os.urandom(1_000_000) for _ in range(size // 1_000_000))),
                 mediaType="application/vnd.ollama.image.model")
    config = dict(add_blob(store, [b'{"model_format":"gguf","model_family":"llama"}']),
                  mediaType="application/vnd.docker.container.image.v1+json")
    manifest = store / "manifests" / address / "bench/model/1"
    manifest.parent.mkdir(parents=True)
    manifest.write_text(json.dumps({
        "schemaVersion": 2, "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
        "config": config, "layers": [model]}))
    return model["digest"]


def environment(store):
    return dict(os.environ, SLUICE_MODELS=str(store), SLUICE_HOST="127.0.0.1:9")


def timed(command, env=None):
    """Seconds, and the most memory in MB."""
    start = time.perf_counter()
    process = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL,
                               stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    error = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        raise SystemExit(f"{command[0]} failed: {error.decode()[-500:]}")
    return time.perf_counter() - start, usage.ru_maxrss / 1000


def curl_command(url, size, folder):
    command = ["curl", "--silent", "--show-error", "--fail", "--parallel", "--parallel-max", str(RANGES),
               "--parallel-immediate"]
    piece = -(-size // RANGES)
    for i in range(RANGES):
        if i > 0:
            command.append("--next")
            command += ["--silent", "--show-error", "--fail"]
        last = min(size, (i + 1) * piece) - 1
        command += ["--range", f"{i * piece}-{last}", "--output", f"{folder}/part-{i}", url]
    return command


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size-mb", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", help="where to work (default: the folder for temporary files)")
    options = parser.parse_args()
    if not shutil.which("docker-registry"):
        raise SystemExit("docker-registry is not installed")
    size = options.size_mb * 1_000_000
    times = {"curl": [], "curl, then sync": [], "curl, sync, digest": [], "sluice pull": []}
    memory = []
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = pathlib.Path(name)
        process, address = start_registry(folder)
        try:
            digest = make_store(folder / "from", address, size)
            model = f"{address}/bench/model:1"
            subprocess.run([SLUICE, "push", "--insecure", model], check=True,
                           env=environment(folder / "from"), stderr=subprocess.DEVNULL)
            url = f"http://{address}/v2/bench/model/blobs/{digest}"
            for _ in range(options.rounds):
                parts = folder / "parts"
                parts.mkdir()
                seconds, _ = timed(curl_command(url, size, parts))
                start = time.perf_counter()
                for part in parts.iterdir():
                    with open(part, "rb") as file:
                        os.fsync(file.fileno())
                times["curl"].append(seconds)
                times["curl, then sync"].append(seconds + time.perf_counter() - start)
                subprocess.run(["openssl", "dgst", "-sha256", *parts.iterdir()], check=True, stdout=subprocess.DEVNULL)
                times["curl, sync, digest"].append(seconds + time.perf_counter() - start)
                shutil.rmtree(parts)
                seconds, megabytes = timed([SLUICE, "pull", "--insecure", model],
                                           environment(folder / "to"))
                times["sluice pull"].append(seconds)
                memory.append(megabytes)
                shutil.rmtree(folder / "to")
        finally:
            process.terminate()
            process.wait()
    print(f"{options.size_mb} MB, {RANGES} ranges, median of {options.rounds}")
    for what, seconds in times.items():
        middle = statistics.median(seconds)
        spread = f"{min(seconds):.2f} .. {max(seconds):.2f} s"
        print(f"  {what:<20} {options.size_mb / middle:7.0f} MB/s   {middle:.2f} s ({spread})")
    print(f"  memory of sluice {max(memory):5.0f} MB at most")


if __name__ == "__main__":
    main()
