#!/usr/bin/env python3
"""How Sluice and llama.cpp share a machine with others: tokens/s beside busy processes.

    bench/crowded.py MODEL.gguf [--busy 0,1,2,3,4] [--quota 1.5] [--rounds 3] [--keep FILE]

Starts so many processes that only spin, and runs both programs alternately, with one thread and
with all: decode of 1, 4 and 16 sequences, and a prefill. Sluice's "all" is its default, which may
leave members of its team out. The load "quota" is a control group that may use so many cores;
it is left out where control groups cannot be written. Prints a Markdown table: medians, and the
worst run in brackets. With --keep, figures are added to those of earlier runs in FILE, so that
the loads can be measured one by one.
"""
import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
from contextlib import contextmanager

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "bench/peers"))
import llama_cpp  # noqa: E402

SLUICE = os.environ.get("SLUICE_BIN", os.path.join(ROOT, "build/release/sluice"))
SPIN = "import time\nend = time.monotonic() + {}\nwhile time.monotonic() < end:\n    pass"
LONGEST_LOAD = 1800  # seconds: busy processes end by then, whatever becomes of this program


def say(text):
    print(f"==> {text}", file=sys.stderr, flush=True)


def output_of(command):
    return subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL).stdout


# --- loads: each yields what a command must begin with -----------------------------------------

@contextmanager
def busy_processes(count):
    spinning = [subprocess.Popen([sys.executable, "-c", SPIN.format(LONGEST_LOAD)])
                for _ in range(count)]
    try:
        yield []
    finally:
        for process in spinning:
            process.kill()
            process.wait()


@contextmanager
def quota(cores):
    """A control group, version 1 or 2, with processor time for so many cores."""
    period = 100_000
    if os.path.exists("/sys/fs/cgroup/cgroup.controllers"):
        parent, limits = "/sys/fs/cgroup", {"cpu.max": f"{round(cores * period)} {period}"}
    else:
        parent = "/sys/fs/cgroup/cpu"
        limits = {"cpu.cfs_period_us": f"{period}", "cpu.cfs_quota_us": f"{round(cores * period)}"}
    group = os.path.join(parent, f"sluice-crowded-{os.getpid()}")
    os.mkdir(group)
    try:
        for name, value in limits.items():
            with open(os.path.join(group, name), "w", encoding="ascii") as file:
                file.write(value)
        yield ["sh", "-c", f'echo $$ > "{group}/cgroup.procs" && exec "$@"', "sh"]
    finally:
        os.rmdir(group)


# --- programs: each gives {test: [tokens/s, ...]} ----------------------------------------------

def sluice_speeds(prefix, threads, options):
    command = [*prefix, SLUICE, "bench", options.model, "--json", "-r", str(options.repetitions),
               "-p", str(options.prompt), "-n", str(options.decode),
               "-s", ",".join(map(str, options.sequences))]
    document = json.loads(output_of(command + (["-t", str(threads)] if threads else [])))
    return {test_name(r["prompt_tokens"], r["sequences"]): r["tokens_per_second"]
            for r in document["results"]}


def llama_speeds(prefix, threads, options):
    folder, threads = options.llama, threads or os.cpu_count()
    bench = [f"{folder}/llama-bench", "-m", options.model, "-p", str(options.prompt), "-n", "0",
             "-t", str(threads), "-fa", "1", "-r", "1", "-o", "json"]
    batched = [f"{folder}/llama-batched-bench", "-m", options.model, "-npp", "1",
               "-ntg", str(options.decode), "-npl", ",".join(map(str, options.sequences)),
               "-c", str((options.decode + 64) * max(options.sequences)), "-t", str(threads),
               "-fa", "on", "--output-format", "jsonl"]
    speeds = {test_name(options.prompt, 1): [json.loads(output_of(prefix + bench))[0]["avg_ts"]]}
    for line in output_of(prefix + batched).splitlines():
        if line.startswith("{"):
            result = json.loads(line)
            speeds[test_name(0, result["pl"])] = [result["speed_tg"]]
    return speeds


def test_name(prompt, sequences):
    return f"prefill {prompt}" if prompt else f"decode, {sequences}"


PROGRAMS = {"Sluice, 1 thread": (sluice_speeds, 1), "Sluice": (sluice_speeds, None),
            "llama.cpp, 1 thread": (llama_speeds, 1), "llama.cpp": (llama_speeds, None)}


# --- the table ---------------------------------------------------------------------------------

def measure(load, prefix, figures, options):
    for number in range(options.rounds):
        for label, (speeds_of, threads) in PROGRAMS.items():
            say(f"{load}, round {number + 1} of {options.rounds}: {label}")
            for test, values in speeds_of(prefix, threads, options).items():
                programs = figures.setdefault(load, {}).setdefault(test, {})
                programs.setdefault(label, []).extend(values)


def cell(values):
    return f"{statistics.median(values):.0f} ({min(values):.0f})" if values else ""


def print_table(figures):
    print("| load | test | " + " | ".join(PROGRAMS) +
          " | of one thread | of quiet | of llama.cpp's better |")
    print("|---|---|" + "---|" * (len(PROGRAMS) + 3))
    for load, tests in figures.items():
        for test, programs in tests.items():
            median = {label: statistics.median(values) for label, values in programs.items()}
            quiet = figures.get("quiet", {}).get(test, {}).get("Sluice", [])
            alone, ours = median["Sluice, 1 thread"], median["Sluice"]
            peer = max(median["llama.cpp, 1 thread"], median["llama.cpp"])
            of_one = f"{ours / alone:.0%} ({min(programs['Sluice']) / alone:.0%})"
            of_quiet = f"{ours / statistics.median(quiet):.0%}" if quiet else ""
            print(f"| {load} | {test} | " + " | ".join(cell(programs[p]) for p in PROGRAMS) +
                  f" | {of_one} | {of_quiet} | {ours / peer:.2f} |")


def numbers(text):
    return [int(part) for part in text.split(",") if part]


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", metavar="MODEL.gguf")
    parser.add_argument("--busy", type=numbers, default=[0, 1, 2, 3, 4],
                        help="numbers of busy processes; 0 is the quiet machine")
    parser.add_argument("--quota", type=float, default=1.5, help="cores; 0 leaves it out")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--repetitions", type=int, default=3, help="of Sluice's tests in a round")
    parser.add_argument("--prompt", type=int, default=512)
    parser.add_argument("--decode", type=int, default=64, help="tokens of each sequence")
    parser.add_argument("--sequences", type=numbers, default=[1, 4, 16])
    parser.add_argument("--keep", metavar="FILE")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # and end the busy processes
    options.llama = llama_cpp.build_peer(["llama-bench", "llama-batched-bench"])

    figures = {}
    if options.keep and os.path.exists(options.keep):
        with open(options.keep, encoding="utf-8") as file:
            figures = json.load(file)
    for count in options.busy:
        load = f"{count} busy" if count else "quiet"
        with busy_processes(count) as prefix:
            measure(load, prefix, figures, options)
    if options.quota:
        try:
            with quota(options.quota) as prefix:
                measure(f"quota of {options.quota:g}", prefix, figures, options)
        except OSError as error:
            say(f"no quota: control groups cannot be written here ({error})")
    if options.keep:
        with open(options.keep, "w", encoding="utf-8") as file:
            json.dump(figures, file)
    print(f"{llama_cpp.processor()}; medians, the worst run in brackets\n")
    print_table(figures)


if __name__ == "__main__":
    main()
