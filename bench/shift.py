#!/usr/bin/env python3
"""How long a stream stands still when its context is full and half of it is forgotten.

    bench/shift.py MODEL.gguf [--clients N] [--context TOKENS] [--tokens TOKENS]

Streams replies past the end of their context from `sluice serve`, N at a time, and prints the times
between their pieces: the median and the longest. SLUICE_BIN names another sluice than build/release/sluice.
"""
import argparse
import http.client
import json
import statistics
import sys
import threading
import time

from serving_servers import Sluice, model_name, say


def stream(server, model, options, prompt, gaps, ends):
    body = {"model": model, "prompt": prompt, "raw": True, "ignore_eos": True,
            "options": {"temperature": 0, "num_ctx": options.context, "num_keep": 4,
                        "num_predict": options.tokens, "stop": []}}
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=600)
    connection.request("POST", "/api/generate", json.dumps(body))
    response = connection.getresponse()
    last = None
    for line in response:
        now = time.monotonic()
        end = json.loads(line)
        if last is not None:
            gaps.append(now - last)
        last = now
    ends.append(end)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--clients", type=int, default=1)
    parser.add_argument("--context", type=int, default=4096)
    parser.add_argument("--tokens", type=int, default=8500)
    parser.set_defaults(shield=None)
    options = parser.parse_args()
    name = model_name(options.model)
    all_gaps = [[] for _ in range(options.clients)]
    ends = []
    with Sluice([options.model], ["--parallel", "4"], options) as server:
        threads = []
        for i, gaps in enumerate(all_gaps):
            prompt = "One, two, three, four, five, six, seven, " * (4 + 10 * i)
            threads.append(threading.Thread(
                target=stream, args=(server, name, options, prompt, gaps, ends)))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        engine = server.status()["models"][0]["engine"]
    shown = {key: value for key, value in engine.items() if key != "requests"}
    for gaps in all_gaps:
        milliseconds = [1000 * gap for gap in gaps]
        ordered = sorted(milliseconds)
        longest = max(range(len(gaps)), key=lambda i: milliseconds[i])
        say(f"{len(gaps) + 1} pieces: median {statistics.median(ordered):.1f} ms, "
            f"99% {ordered[len(ordered) * 99 // 100]:.1f} ms, "
            f"longest {', '.join(f'{gap:.1f}' for gap in ordered[-5:])} ms "
            f"(the longest behind piece {longest + 1})")
    for end in ends:
        say(json.dumps({key: end.get(key) for key in ("done_reason", "eval_count", "sluice",
                                                      "error") if key in end}))
    say(json.dumps(shown))


if __name__ == "__main__":
    sys.exit(main())
