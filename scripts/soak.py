#!/usr/bin/env python3
"""Runs a server for half an hour under everything that clients do to it, and says whether it holds.

    scripts/soak.py MODEL.gguf [MODEL.gguf...] [--minutes 30]

Clients of every kind at once, over several models: streams that are read to the end, that are left
half-way, that are dropped before the first token, that are read one byte at a time; requests of
which only half is sent; bursts beyond the queue; connections that stay idle; embeddings where the
server has them; models unloaded under way. Every few seconds the resident memory and the cache
blocks are sampled from /api/sluice/status. At the end all clients go, and it fails (exit status 1)
when blocks, requests or connections are left, when memory has grown, when the server answered what
it should not, or did not stop when told to. SLUICE_BIN names another sluice than
build/release/sluice; its log is in build/serving/.
"""
import argparse
import collections
import http.client
import json
import os
import random
import socket
import statistics
import struct
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))),
                                "bench"))
from serving_servers import (Sluice, llama_cpp, model_name, say,  # noqa: E402
                             shield_this_process)

WORDS = ("house water story road light morning letter garden window river stone music winter "
         "market doctor engine island paper summer teacher").split()
PATIENCE = 600  # seconds of silence that mean a lost request, on the busiest machine
EXPECTED = {200, 503}  # a full queue is part of the plan


class Soak:
    """What the clients share: where to go, when to end, and what happened."""

    def __init__(self, server, models, seed):
        self.server, self.models, self.seed = server, models, seed
        self.over = threading.Event()
        self.lock = threading.Lock()
        self.counts = collections.Counter()
        self.wrong = []

    def count(self, what, status=None):
        with self.lock:
            self.counts[what if status in (None, 200) else f"{what}: {status}"] += 1

    def complain(self, text):
        with self.lock:
            self.wrong.append(text)

    def pause(self, seconds):
        self.over.wait(seconds)


def prompt(random_, most_words):
    words = random_.choices(WORDS, k=random_.randint(3, most_words))
    return " ".join(words) + ". Tell a story with these words."


def body_of(soak, random_, most_words=150, most_tokens=120):
    """(path, body) of a chat in either dialect, with either model."""
    model = random_.choice(soak.models)
    tokens = random_.randint(1, most_tokens)
    messages = [{"role": "user", "content": prompt(random_, most_words)}]
    if random_.random() < 0.5:  # shared prefixes: the cache has something to keep and to evict
        messages.insert(0, {"role": "system", "content": " ".join(WORDS * random_.randint(1, 8))})
    if random_.random() < 0.5:
        return "/api/chat", {"model": model, "messages": messages,
                             "options": {"num_predict": tokens,
                                         "num_ctx": random_.choice([512, 1024, 2048])}}
    return "/v1/chat/completions", {"model": model, "messages": messages, "stream": True,
                                    "max_tokens": tokens}


def raw_request(path, body):
    text = json.dumps(body).encode()
    return (f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(text)}\r\n\r\n").encode() + text


def connect(soak, receive_buffer=0):
    connection = socket.socket()
    if receive_buffer:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    connection.settimeout(PATIENCE)
    connection.connect(("127.0.0.1", soak.server.port))
    return connection


def reset(connection):
    """Closes with a reset, as a crashed client's machine does."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def leave(connection, random_):
    reset(connection) if random_.random() < 0.5 else connection.close()


# --- the kinds of clients: each does its thing once ------------------------------------------

def reader(soak, random_):
    """Reads to the end; now and then several requests on one connection."""
    connection = http.client.HTTPConnection("127.0.0.1", soak.server.port, timeout=PATIENCE)
    for _ in range(random_.randint(1, 3)):
        path, body = body_of(soak, random_)
        connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        reply = connection.getresponse()
        text = reply.read()
        soak.count("read to the end", reply.status)
        if reply.status not in EXPECTED:
            soak.complain(f"{path}: {reply.status} {text[:200]!r}")
        elif reply.status == 200 and b'"done":true' not in text and b"[DONE]" not in text:
            soak.complain(f"{path} ended without its final message: {text[-200:]!r}")
        if soak.over.is_set():
            break
    connection.close()


def leaver(soak, random_):
    """Leaves after some of the reply."""
    connection = connect(soak)
    connection.sendall(raw_request(*body_of(soak, random_, most_tokens=400)))
    for _ in range(random_.randint(1, 30)):
        if not connection.recv(256):
            break
    leave(connection, random_)
    soak.count("left half-way")


def dropper(soak, random_):
    """Gone before the first token: while queued or in the prefill."""
    connection = connect(soak)
    connection.sendall(raw_request(*body_of(soak, random_, most_words=900)))
    soak.pause(random_.uniform(0, 0.3))
    leave(connection, random_)
    soak.count("dropped before the reply")
    soak.pause(0.2)


def slow_reader(soak, random_):
    """One byte at a time with a small buffer, for ten seconds."""
    connection = connect(soak, receive_buffer=2048)
    connection.sendall(raw_request(*body_of(soak, random_, most_tokens=400)))
    end = time.monotonic() + 10
    while time.monotonic() < end and not soak.over.is_set():
        if not connection.recv(1):
            break
        soak.pause(0.02)
    leave(connection, random_)
    soak.count("read byte by byte")


def half_sender(soak, random_):
    """Sends a part of a request and goes, or waits a while first."""
    connection = connect(soak)
    request = raw_request(*body_of(soak, random_))
    connection.sendall(request[:random_.randint(0, len(request) - 1)])
    soak.pause(random_.choice([0, 1, 5]))
    leave(connection, random_)
    soak.count("half a request")


def idler(soak, random_):
    """Twenty connections that do nothing for a while."""
    connections = [connect(soak) for _ in range(20)]
    soak.pause(random_.uniform(1, 10))
    for connection in connections:
        leave(connection, random_)
    soak.count("idle connections", None)


def burst(soak, random_):
    """More at once than the queue takes; all gone after a moment."""
    connections = [connect(soak) for _ in range(60)]
    for connection in connections:
        connection.sendall(raw_request(*body_of(soak, random_)))
    soak.pause(random_.uniform(0.1, 2))
    for connection in connections:
        leave(connection, random_)
    soak.count("bursts of 60")
    soak.pause(5)


def post(soak, path, body):
    connection = http.client.HTTPConnection("127.0.0.1", soak.server.port, timeout=PATIENCE)
    try:
        connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        reply = connection.getresponse()
        return reply.status, reply.read()
    finally:
        connection.close()


def embedder(soak, random_):
    status, text = post(soak, "/api/embed", {
        "model": random_.choice(soak.models),
        "input": [prompt(random_, 60) for _ in range(random_.randint(1, 8))]})
    soak.count("embeddings", status)
    if status not in EXPECTED:
        soak.complain(f"/api/embed: {status} {text[:200]!r}")
    soak.pause(0.5)


def unloader(soak, random_):
    """Unloads a model under way: what runs on it must end well, then it loads anew."""
    soak.pause(random_.uniform(5, 15))
    if soak.over.is_set():
        return
    status, text = post(soak, "/api/generate", {"model": random_.choice(soak.models),
                                                "keep_alive": 0})
    soak.count("unloads", status)
    if status not in EXPECTED:
        soak.complain(f"unload: {status} {text[:200]!r}")


KINDS = [(reader, 6), (leaver, 3), (dropper, 2), (slow_reader, 2), (half_sender, 2), (idler, 1),
         (burst, 1), (unloader, 1)]


def run_client(soak, kind, number):
    random_ = random.Random(f"{soak.seed}-{kind.__name__}-{number}")
    while not soak.over.is_set():
        try:
            kind(soak, random_)
        except (OSError, http.client.HTTPException) as error:
            soak.count(f"{kind.__name__}: {type(error).__name__}")
            soak.complain(f"{kind.__name__}: {type(error).__name__} {error}")
            soak.pause(1)


def has_embeddings(soak):
    status, _ = post(soak, "/api/embed", {"model": soak.models[0], "input": "x"})
    return status == 200


# --- watching --------------------------------------------------------------------------------

def sample(server):
    status = server.status()
    engines = [model["engine"] for model in status["models"] if "engine" in model]
    return {"memory": status["resident_bytes"], "connections": status["num_connections"],
            "running": status["num_running"], "waiting": status["num_waiting"],
            "models": len(status["models"]), "threads": status["num_threads"],
            "used": sum(engine["num_blocks_used"] for engine in engines),
            "cached": sum(engine["num_blocks_cached"] for engine in engines),
            "preemptions": sum(engine["num_preemptions"] for engine in engines)}


def watch(soak, seconds, interval):
    samples = []
    end = time.monotonic() + seconds
    last_said = 0
    while time.monotonic() < end and soak.server.process.poll() is None:
        soak.pause(interval)
        now = sample(soak.server)
        samples.append(now)
        if time.monotonic() - last_said > 30:
            last_said = time.monotonic()
            say(f"{now['memory'] / 1e6:.0f} MB, {now['models']} models, {now['running']} running, "
                f"{now['waiting']} waiting, {now['connections']} connections, blocks: "
                f"{now['used']} used, {now['cached']} cached")
    return samples


def settle(server, is_settled, seconds=90):
    """The first sample that is settled, or the last one."""
    end = time.monotonic() + seconds
    while True:
        now = sample(server)
        if is_settled(now) or time.monotonic() > end:
            return now
        time.sleep(0.5)


def unload_all(soak):
    """The sample when no model is left and the memory of the last one is given back: that takes a
    moment more."""
    for model in soak.models:
        post(soak, "/api/generate", {"model": model, "keep_alive": 0})
    unloaded = settle(soak.server, lambda now: now["models"] == 0)
    return unloaded | {"memory": soak.server.settled_memory()}


def peak(samples):
    return max(sample["memory"] for sample in samples)


def judge(soak, samples, before, rest, unloaded, exit_status):
    """Prints the summary; the list of what was wrong."""
    third = max(len(samples) // 3, 1)
    middle, last = peak(samples[third:2 * third] or samples), peak(samples[-third:])
    allowed = middle * 1.03 + 16e6
    wrong = list(dict.fromkeys(soak.wrong))
    checks = [
        (last <= allowed, f"memory grew: {middle / 1e6:.1f} MB in the middle third at most, "
                          f"{last / 1e6:.1f} MB in the last"),
        (rest["used"] == 0, f"{rest['used']} blocks leaked"),
        (rest["running"] == rest["waiting"] == 0,
         f"{rest['running']} requests still run, {rest['waiting']} wait"),
        (rest["connections"] <= 2, f"{rest['connections']} connections are left"),
        (unloaded["memory"] < before["memory"] + 64e6,
         f"unloading leaves {unloaded['memory'] / 1e6:.1f} MB, {before['memory'] / 1e6:.1f} MB at "
         "first"),
        (unloaded["models"] == 0, f"{unloaded['models']} models do not unload"),
        (exit_status == 0, f"the server ended with status {exit_status}"),
    ]
    wrong += [text for is_right, text in checks if not is_right]
    print(f"{llama_cpp.processor()}, {time.strftime('%-d %B %Y')}\n")
    print("| | |\n|---|---|")
    for what, count in sorted(soak.counts.items()):
        print(f"| {what} | {count} |")
    medians = [statistics.median(sample["memory"] for sample in part) / 1e6
               for part in (samples[:third], samples[third:2 * third] or samples, samples[-third:])]
    print(f"| samples | {len(samples)} |")
    print("| memory, median of each third | " + ", ".join(f"{m:.1f}" for m in medians) + " MB |")
    print(f"| memory, most in the middle and last third | {middle / 1e6:.1f}, "
          f"{last / 1e6:.1f} MB |")
    print(f"| memory with no model loaded, after the first cycle and at the end | "
          f"{before['memory'] / 1e6:.1f}, {unloaded['memory'] / 1e6:.1f} MB |")
    print(f"| most running, waiting | {max(s['running'] for s in samples)}, "
          f"{max(s['waiting'] for s in samples)} |")
    print(f"| preemptions since the models' last load | {samples[-1]['preemptions']} |")
    print(f"| blocks in use at rest | {rest['used']} |")
    print(f"| connections, threads at rest | {rest['connections']}, {rest['threads']} |")
    return wrong


def run(options):
    names = [model_name(path) for path in options.models]
    shield_this_process(options)
    arguments = ["-c", "2048", "--parallel", "3", "--max-queue", "32", "--max-loaded-models",
                 str(max(2, len(names))), *options.sluice_flag]
    with Sluice(options.models, arguments, options) as server:
        soak = Soak(server, names, options.seed)
        kinds = KINDS + ([(embedder, 1)] if has_embeddings(soak) else [])
        if len(kinds) == len(KINDS):
            say("no embeddings: the server has none")
        for model in names:
            post(soak, "/api/generate", {"model": model, "prompt": "x", "stream": False,
                                         "options": {"num_predict": 1}})
        before = unload_all(soak)
        threads = [threading.Thread(target=run_client, args=(soak, kind, number), daemon=True)
                   for kind, count in kinds for number in range(count)]
        for thread in threads:
            thread.start()
        samples = watch(soak, options.minutes * 60, options.interval)
        soak.over.set()
        for thread in threads:
            thread.join(PATIENCE)
        rest = settle(server, lambda now: now["running"] + now["waiting"] + now["used"] == 0
                      and now["connections"] <= 2)
        unloaded = unload_all(soak)
        server.stop()
        wrong = judge(soak, samples, before, rest, unloaded, server.process.returncode)
    for text in wrong[:20]:
        print(f"\nWrong: {text}")
    print("\nThe soak " + ("failed." if wrong else f"of {options.minutes:g} minutes passed."))
    return 1 if wrong else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", metavar="MODEL.gguf")
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--interval", type=float, default=3, help="seconds between samples")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--sluice-flag", action="append", default=[])
    parser.add_argument("--shield", choices=["nice", "fifo"],
                        help="shield server and clients against other work on the machine")
    sys.exit(run(parser.parse_args()))


if __name__ == "__main__":
    main()
