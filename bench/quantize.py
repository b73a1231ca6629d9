#!/usr/bin/env python3
"""Sluice's quantizer beside llama.cpp's on the same files: time, size, perplexity.

    bench/quantize.py MODEL.gguf... [--types q4_0,q4_K_M] [--text FILE] [--windows N] [--alone]

A model that is quantized already is made F32 first (its weights are what they are then; both
quantizers begin with the same). Builds llama.cpp's tools the first time, as
bench/peers/llama_cpp.py does; LLAMA_CPP_BIN names a folder with them; --alone does without. Prints a
Markdown table, whose rows may come from several runs.
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
    """Until what it has written is on the disk: Sluice's file is when it ends, llama.cpp's not yet.
    Nobody pays for what the one before has left."""
    os.sync()
    start = time.monotonic()
    run(*command)
    os.sync()
    return time.monotonic() - start


def perplexity(sluice, model, arguments):
    if arguments.windows == 0:
        return float("nan")
    out = run(sluice, "perplexity", model, "-f", arguments.text, "--ctx", "512",
              "--windows", str(arguments.windows))
    return float(re.search(r"^perplexity\s+([\d.]+)", out, re.M).group(1))


def measure(arguments, peer, kind, original, ours, theirs):
    """The rest of a row: size, both times, both perplexities and how far these are apart."""
    sluice = arguments.sluice
    our_time = timed(sluice, "quantize", original, kind, ours)
    mine = perplexity(sluice, ours, arguments)
    size = f"{os.path.getsize(ours) / 1e6:.0f} MB"
    if not peer:
        return size, f"{our_time:.2f} s", "", f"{mine:.4f}", "", ""
    their_time = timed(peer, original, theirs, kind.upper())
    other = perplexity(sluice, theirs, arguments)
    return (size, f"{our_time:.2f} s", f"{their_time:.2f} s", f"{mine:.4f}", f"{other:.4f}",
            f"{100 * (mine / other - 1):+.2f}%")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+")
    parser.add_argument("--types", default=TYPES)
    parser.add_argument("--text", default=os.path.join(ROOT, "docs/architecture.md"))
    parser.add_argument("--windows", type=int, default=12, help="0: times alone")
    parser.add_argument("--sluice", default=os.path.join(ROOT, "build/release/sluice"))
    parser.add_argument("--alone", action="store_true", help="without llama.cpp")
    arguments = parser.parse_args()
    peer = None
    if not arguments.alone:
        peer = os.path.join(llama_cpp.build_peer(("llama-quantize",)), "llama-quantize")
    print("| model | type | size | Sluice | llama.cpp | perplexity | llama.cpp's | apart |")
    print("|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        original, ours, theirs = (f"{folder}/{name}.gguf" for name in ("f32", "ours", "theirs"))
        for model in arguments.models:
            run(arguments.sluice, "quantize", model, "f32", original, "--allow-requantize")
            name = os.path.basename(model).removesuffix(".gguf")
            for kind in arguments.types.split(","):
                row = measure(arguments, peer, kind, original, ours, theirs)
                print("| " + " | ".join([name, kind, *row]) + " |", flush=True)


if __name__ == "__main__":
    main()
