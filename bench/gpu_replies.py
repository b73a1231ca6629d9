#!/usr/bin/env python3
"""Greedy replies of a model on a GPU beside those on the CPU, through `sluice serve`.

    bench/gpu_replies.py MODEL.gguf [--device cuda:0] [--tokens 64] [--beside cpu]

Both round differently, so replies may part where the model finds two tokens as good as equal: what is
asked is that all begin alike and most are alike for a while. Ends with status 1 where they are not.
"""

import argparse
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
SLUICE = ROOT / "build/release/sluice"
PROMPTS = ["Why is the sky blue?", "Write a short poem about the sea.", "Count from one to twenty.",
           "What is the capital of Japan?", "Explain what a transistor does.", "List five colours."]


class Server:
    def __init__(self, environment, device):
        self.process = subprocess.Popen(
            [SLUICE, "serve", "--port", "0", "--device", device], env=environment,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        for line in self.process.stderr:
            if found := re.search(r"listening on (http://\S+)", line):
                self.url = found.group(1)
                break
        else:
            sys.exit(f"the server on {device} ended at once")

    def reply(self, prompt, tokens):
        body = {"model": "checked", "prompt": prompt, "stream": False,
                "options": {"temperature": 0, "num_predict": tokens}}
        request = urllib.request.Request(self.url + "/api/generate", json.dumps(body).encode())
        with urllib.request.urlopen(request, timeout=600) as answer:
            return json.load(answer)["response"]

    def stop(self):
        self.process.terminate()
        self.process.communicate()


def common(a, b):
    return len(os.path.commonprefix([a, b]))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--beside", default="cpu", help="cpu or reference")
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--prompts", type=int, default=len(PROMPTS))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        environment = dict(os.environ, SLUICE_MODELS=folder, SLUICE_OFFLINE="1", HOME=folder)
        subprocess.run([SLUICE, "import", options.model, "checked"], env=environment, check=True,
                       stdout=subprocess.DEVNULL)
        replies = []
        for device in (options.device, options.beside):
            server = Server(environment, device)
            try:
                replies.append([server.reply(p, options.tokens) for p in PROMPTS[:options.prompts]])
            finally:
                server.stop()
    shares = []
    for prompt, mine, theirs in zip(PROMPTS, *replies):
        longest = max(len(mine), len(theirs), 1)
        shares.append(1.0 if mine == theirs else common(mine, theirs) / longest)
        print(f"{100 * shares[-1]:4.0f}% alike: {prompt}")
    are_alike = min(shares) > 0 and sorted(shares)[len(shares) // 2] > 0.3
    print("replies are alike" if are_alike else "REPLIES DIFFER")
    sys.exit(0 if are_alike else 1)


if __name__ == "__main__":
    main()
