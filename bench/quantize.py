#!/usr/bin/env python3
"""Sluice's quantizer beside llama.cpp's on the same files: time, size, perplexity.

    bench/quantize.py MODEL.gguf... [--types q4_0,q4_K_M] [--text FILE] [--windows N]

A model that is quantized already is made F32 first (its weights are what they are then; both
quantizers begin with the same). Builds llama.cpp's tools the first time, as
bench/peers/llama_cpp.py does; LLAMA_CPP_BIN names a folder with them. Prints a Markdown table.
"""
import argparse
import os
import re
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "bench/peers"))
import llama_cpp  # noqa: E402

TYPES = "q4_0,q4_1,q5_0,q5_1,q8_0,q4_K_S,q4_K_M,q5_K_S,q5_K_M,q6_K,f16,bf16"


def run(*command):
    return subprocess.run(command, check=True, text=True, capture_output=True).stdout


def timed(*command):
    start = time.monotonic()
    run(*command)
    return time.monotonic() - start


def perplexity(sluice, model, arguments):
    out = run(sluice, "perplexity", model, "-f", arguments.text, "--ctx", "512",
              "--windows", str(arguments.windows))
    return float(re.search(r"^perplexity\s+([\d.]+)", out, re.M).group(1))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+")
    parser.add_argument("--types", default=TYPES)
    parser.add_argument("--text", default=os.path.join(ROOT, "docs/performance.md"))
    parser.add_argument("--windows", type=int, default=12)
    parser.add_argument("--sluice", default=os.path.join(ROOT, "build/release/sluice"))
    arguments = parser.parse_args()
    peer = os.path.join(llama_cpp.build_peer(("llama-quantize",)), "llama-quantize")
    print("| model | type | Sluice | llama.cpp | size | perplexity | llama.cpp's | apart |")
    print("|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        original, ours, theirs = (f"{folder}/{name}.gguf" for name in ("f32", "ours", "theirs"))
        for model in arguments.models:
            run(arguments.sluice, "quantize", model, "f32", original, "--allow-requantize")
            name = os.path.basename(model).removesuffix(".gguf")
            for kind in arguments.types.split(","):
                our_time = timed(arguments.sluice, "quantize", original, kind, ours)
                their_time = timed(peer, original, theirs, kind.upper())
                mine, other = (perplexity(arguments.sluice, f, arguments) for f in (ours, theirs))
                size = os.path.getsize(ours) / 1e6
                print(f"| {name} | {kind} | {our_time:.2f} s | {their_time:.2f} s | {size:.0f} MB | "
                      f"{mine:.4f} | {other:.4f} | {100 * (mine / other - 1):+.2f}% |", flush=True)


if __name__ == "__main__":
    main()
