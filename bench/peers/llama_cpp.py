#!/usr/bin/env python3
"""Sluice beside llama.cpp on the same files, alternately, in one run.

    bench/peers/llama_cpp.py speed MODEL.gguf...      prefill and decode, tokens/s, medians
    bench/peers/llama_cpp.py fidelity MODEL.gguf... --text FILE
                                                      perplexity and KL divergence to float32

Builds llama.cpp for this very processor the first time (from the source package of
llama-cpp-python, 4 to 8 minutes on two cores) into build/peers/. Prints Markdown tables with the
processor's name, ready for docs/performance.md.
"""
import argparse
import glob
import json
import os
import re
import statistics
import subprocess
import sys
import tarfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PEERS = os.path.join(ROOT, "build/peers")
PACKAGE = "llama-cpp-python==0.3.36"
TOOLS = ["llama-bench", "llama-perplexity", "llama-batched-bench", "llama-server",
         "llama-tokenize", "llama-quantize"]


def say(text):
    print(f"==> {text}", file=sys.stderr, flush=True)


def run(command, **options):
    return subprocess.run(command, check=True, text=True, **options)


def keep_tile_configuration(path):
    """GCC 12 believes that _tile_loadconfig reads 8 bytes and drops the stores that fill the other
    56: the peer's AMX code then dies of an illegal instruction. A barrier in front keeps them."""
    with open(path, encoding="utf-8") as file:
        text = file.read()
    call, barrier = "_tile_loadconfig(&tc);", '__asm__ volatile("" : : "r"(&tc) : "memory"); '
    if barrier not in text:
        with open(path, "w", encoding="utf-8") as file:
            file.write(text.replace(call, barrier + call))


def build_peer(tools=tuple(TOOLS)):
    """The folder with these programs of llama.cpp."""
    binaries = os.environ.get("LLAMA_CPP_BIN", os.path.join(PEERS, "llama.cpp/bin"))
    if all(os.path.exists(os.path.join(binaries, tool)) for tool in tools):
        return binaries
    os.makedirs(PEERS, exist_ok=True)
    archives = glob.glob(f"{PEERS}/llama_cpp_python-*.tar.gz")
    if not archives:
        say(f"Fetching {PACKAGE}")
        python = os.path.join(ROOT, "build/venv/bin/python")
        if not os.path.exists(python):
            run([sys.executable, "-m", "venv", os.path.join(ROOT, "build/venv")])
        run([python, "-m", "pip", "download", "--no-deps", "--no-binary", PACKAGE.split("==")[0],
             "-d", PEERS, PACKAGE], stdout=sys.stderr)
        archives = glob.glob(f"{PEERS}/llama_cpp_python-*.tar.gz")
    sources = archives[0].removesuffix(".tar.gz")
    if not os.path.isdir(sources):
        with tarfile.open(archives[0]) as tar:
            tar.extractall(PEERS, filter="data")
    keep_tile_configuration(f"{sources}/vendor/llama.cpp/ggml/src/ggml-cpu/amx/mmq.cpp")
    say("Building llama.cpp for this processor")
    run(["cmake", "-G", "Ninja", "-S", f"{sources}/vendor/llama.cpp", "-B", f"{PEERS}/llama.cpp",
         "-DCMAKE_BUILD_TYPE=Release", "-DGGML_NATIVE=ON", "-DLLAMA_BUILD_TESTS=OFF",
         "-DLLAMA_BUILD_EXAMPLES=OFF", "-DLLAMA_USE_PREBUILT_UI=OFF"], stdout=sys.stderr)
    run(["ninja", "-C", f"{PEERS}/llama.cpp", *tools], stdout=sys.stderr)
    return binaries


def processor():
    with open("/proc/cpuinfo", encoding="ascii") as file:
        text = file.read()
    name = re.search(r"model name\s*: (.*)", text).group(1)
    flags = text.split("flags", 1)[1].split("\n", 1)[0].split()
    sets = [label for flag, label in (("avx2", "AVX2"), ("avx512_vnni", "AVX-512 VNNI"),
                                      ("avx512_bf16", "BF16"), ("amx_tile", "AMX"))
            if flag in flags]
    return f"{name} ({', '.join(sets)}), {os.cpu_count()} cores"


def sluice_speed(model, prompts, decode, depths, extra):
    output = run([os.path.join(ROOT, "build/release/sluice"), "bench", model, "--json",
                  "--prompt", prompts, "--decode", str(decode), "--depth", depths,
                  "--repetitions", "1", *extra], stdout=subprocess.PIPE).stdout
    document = json.loads(output)
    speeds = {(r["prompt_tokens"], r["decode_tokens"], r["depth"]): r["tokens_per_second"][0]
              for r in document["results"]}
    return speeds, document


def peer_speed(binaries, model, prompts, decode, depths, threads):
    output = run([f"{binaries}/llama-bench", "-m", model, "-p", prompts, "-n", str(decode), "-d",
                  depths, "-t", str(threads), "-fa", "1", "-r", "1", "-o", "json"],
                 stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
    return {(r["n_prompt"], r["n_gen"], r["n_depth"]): r["avg_ts"] for r in json.loads(output)}


def compare_speed(options):
    binaries = build_peer()
    threads = os.cpu_count()
    print(f"{processor()}; medians of {options.rounds} alternating rounds, {threads} threads\n")
    print("| model | test | Sluice | llama.cpp | ratio | share of read bandwidth |")
    print("|---|---|---|---|---|---|")
    for model in options.models:
        ours, theirs, bandwidths, weight_bytes = {}, {}, [], 1
        for number in range(options.rounds):
            say(f"{os.path.basename(model)}: round {number + 1} of {options.rounds}")
            speeds, document = sluice_speed(model, options.prompt, options.decode, options.depth,
                                            options.sluice_flag)
            bandwidths.append(document["read_bytes_per_second"])
            weight_bytes = document["weight_bytes"]
            for key, value in speeds.items():
                ours.setdefault(key, []).append(value)
            for key, value in peer_speed(binaries, model, options.prompt, options.decode,
                                         options.depth, threads).items():
                theirs.setdefault(key, []).append(value)
        bandwidth = statistics.median(bandwidths)
        for key, values in ours.items():
            prompt, decode, depth = key
            test = f"prefill {prompt}" if prompt else f"decode {decode}"
            test += f" at {depth}" if depth else ""
            mine, peer = statistics.median(values), statistics.median(theirs.get(key, [0]))
            share = "" if prompt else f"{mine * weight_bytes / bandwidth:.0%} of " \
                                      f"{bandwidth / 1e9:.1f} GB/s"
            ratio = f"{mine / peer:.2f}" if peer else ""
            print(f"| {os.path.basename(model)} | {test} | {mine:.1f} | {peer:.1f} | {ratio} | "
                  f"{share} |", flush=True)


def figures(text, labels):
    values = []
    for label in labels:
        found = re.search(label + r"\s*(-?[0-9.]+)", text)
        values.append(float(found.group(1)) if found else float("nan"))
    return values


OUR_LABELS = [r"\nperplexity ", "mean KL divergence", "median KL divergence",
              "99.9% KL divergence", "same top token"]
PEER_LABELS = [r"Mean PPL\(Q\)\s*:", r"Mean    KLD:", r"Median  KLD:", r"99.9%   KLD:",
               "Same top p:"]


def compare_fidelity(options):
    binaries = build_peer()
    sluice = os.path.join(ROOT, "build/release/sluice")
    base = os.path.join(PEERS, "base.bin")
    os.makedirs(PEERS, exist_ok=True)
    print(f"{processor()}; text {os.path.basename(options.text)}, windows of 512\n")
    print("| model | program | perplexity | mean KL | median | 99.9% | same top token |")
    print("|---|---|---|---|---|---|---|")
    window = ["--windows", str(options.windows)]
    for model in options.models:
        say(f"{os.path.basename(model)}: float32 reference")
        text = run([sluice, "perplexity", model, "-f", options.text, "--backend", "reference",
                    "--save-base", base, *window], stdout=subprocess.PIPE).stdout
        name = os.path.basename(model)
        print(f"| {name} | float32 (reference backend) | {figures(text, OUR_LABELS)[0]:.4f} | | | "
              "| |", flush=True)
        programs = [("Sluice, prefill", ["--step", "512"], window),
                    ("Sluice, decode", ["--step", "1"], ["--windows", str(options.decode_windows)])]
        for label, step, limit in programs:
            say(f"{name}: {label}")
            text = run([sluice, "perplexity", model, "-f", options.text, "--kl-base", base, *step,
                        *limit], stdout=subprocess.PIPE).stdout
            print_fidelity(name, label, figures(text, OUR_LABELS))
        say(f"{name}: llama.cpp")
        done = run([f"{binaries}/llama-perplexity", "-m", model, "-f", options.text,
                    "--kl-divergence", "--kl-divergence-base", base, "-t", str(os.cpu_count()),
                    "-fa", "1"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        print_fidelity(name, "llama.cpp", figures(done.stdout, PEER_LABELS))
    os.remove(base)


def print_fidelity(name, label, values):
    perplexity, mean, median, high, same = values
    print(f"| {name} | {label} | {perplexity:.4f} | {mean:.6f} | {median:.6f} | {high:.5f} | "
          f"{same:.2f}% |", flush=True)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    speed = commands.add_parser("speed")
    speed.add_argument("models", nargs="+")
    speed.add_argument("--rounds", type=int, default=5)
    speed.add_argument("--prompt", default="512")
    speed.add_argument("--decode", type=int, default=64)
    speed.add_argument("--depth", default="0")
    speed.add_argument("--sluice-flag", action="append", default=[],
                       help="passed to `sluice bench`, for example --sluice-flag=--isa=avx512")
    speed.set_defaults(action=compare_speed)
    fidelity = commands.add_parser("fidelity")
    fidelity.add_argument("models", nargs="+")
    fidelity.add_argument("--text", default="/usr/share/common-licenses/GPL-3")
    fidelity.add_argument("--windows", type=int, default=0)
    fidelity.add_argument("--decode-windows", type=int, default=4)
    fidelity.set_defaults(action=compare_fidelity)
    options = parser.parse_args()
    options.action(options)


if __name__ == "__main__":
    main()
