#!/usr/bin/env python3
"""Runs every test suite that is built and prints the sum: "N passed, N failed, N skipped".

    tests/run.py [--fresh] [--fast] [--bare]

A suite that passed is not run again while its program, its data and what it reads stay the same
(as `go test` does it); --fresh runs it anyway. --fast leaves out sanitizer builds and fuzzing; --bare also runs
`./run.sh "hi"` in a bare Debian 12, each time.
"""
import argparse
import concurrent.futures
import dataclasses
import glob
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
CACHE = "build/test-results"
# Begun first, the longest before all: the short ones then end together.
LONGEST = ("tests/clients", "asan/backend", "tsan/backend", "tests/browser", "asan/cuda", "bare machine",
           "asan/simt", "release/fidelity", "asan/text", "release/cuda", "tsan/engine", "tsan/server",
           "release/simt")
FUZZ_SECONDS = int(os.environ.get("SLUICE_FUZZ_SECONDS", "15"))
# Not under sanitizers: the release build's figures bit for bit, from emulated kernels that asan/simt checks.
FIGURES_ONLY = {"cuda": "CudaExact.*"}


@dataclasses.dataclass
class Result:
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    output: str = ""  # what to show when something failed
    reasons: list = dataclasses.field(default_factory=list)  # why tests were skipped


@dataclasses.dataclass
class Suite:
    name: str
    run: callable  # () -> Result
    inputs: list  # files and folders that decide the result; none: run each time


def environment(**extra):
    env = dict(os.environ, **extra)
    for variable, folder in (
        ("SLUICE_TEST_MODELS", "build/models"),
        ("SLUICE_TEST_VOCABS", "build/test-data/vocabs"),
        ("SLUICE_TEST_TEMPLATES", "build/test-data/templates"),
        ("SLUICE_TEST_CUTLASS", "build/test-data/cutlass"),
    ):
        if variable not in env and os.path.isdir(folder):
            env[variable] = os.path.join(ROOT, folder)
    return env


def execute(command, env, timeout):
    try:
        done = subprocess.run(
            command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, timeout=timeout, check=False)
        return done.returncode, done.stdout.decode(errors="replace")
    except subprocess.TimeoutExpired as expired:
        output = (expired.stdout or b"").decode(errors="replace")
        return 124, output + f"\nstopped after {timeout} s"


def run_gtest(program, env, left_out):
    with tempfile.TemporaryDirectory() as folder:
        report = os.path.join(folder, "report.json")
        status, output = execute(
            [program, f"--gtest_output=json:{report}", "--gtest_brief=1", f"--gtest_filter=-{left_out}"], env, 2400)
        result = Result(output=output)
        try:
            with open(report, encoding="utf-8") as file:
                suites = json.load(file)["testsuites"]
        except (OSError, ValueError):
            result.failed = 1
            result.output += f"\n{program} ended with status {status} and no report"
            return result
    for test in (test for suite in suites for test in suite["testsuite"]):
        if test.get("failures"):
            result.failed += 1
        elif test.get("result") == "SKIPPED":
            result.skipped += 1
        else:
            result.passed += 1
    result.reasons = re.findall(r": Skipped\n(.+)", output)
    if status != 0 and result.failed == 0:
        result.failed = 1  # a sanitizer finding at exit
    return result


def run_pytest(folder, env):
    with tempfile.TemporaryDirectory() as scratch:
        report = os.path.join(scratch, "report.xml")
        _, output = execute(
            ["build/test-venv/bin/python", "-m", "pytest", "-q", "-p", "no:cacheprovider",
             f"--junitxml={report}", folder], env, 2400)
        result = Result(output=output)
        try:
            cases = list(xml.etree.ElementTree.parse(report).iter("testcase"))
        except (OSError, xml.etree.ElementTree.ParseError):
            result.failed = 1
            return result
    for case in cases:
        if case.find("failure") is not None or case.find("error") is not None:
            result.failed += 1
        elif case.find("skipped") is not None:
            result.skipped += 1
            result.reasons.append(case.find("skipped").get("message", ""))
        else:
            result.passed += 1
    return result


def run_fuzz(program, corpus):
    with tempfile.TemporaryDirectory() as scratch:
        corpora = [scratch] + ([corpus] if os.path.isdir(corpus) else [])
        status, output = execute(
            [program, f"-max_total_time={FUZZ_SECONDS}", "-rss_limit_mb=2048", "-timeout=25",
             "-print_final_stats=1", f"-artifact_prefix={scratch}/", *corpora],
            environment(), FUZZ_SECONDS + 300)
        if status == 0:
            return Result(passed=1, output=output)
        for artifact in glob.glob(f"{scratch}/crash-*") + glob.glob(f"{scratch}/oom-*"):
            with open(artifact, "rb") as file:
                output += f"\n{os.path.basename(artifact)}: {file.read()[:2000]!r}"
        return Result(failed=1, output=output)


def run_bare_machine():
    command = "./run.sh hi && tests/package/install_and_remove.sh"
    status, output = execute(["scripts/bare_machine.sh", "sh", "-c", command], environment(), 2400)
    if status == 77:
        return Result(skipped=1, reasons=output.splitlines()[-1:])
    return Result(passed=int(status == 0), failed=int(status != 0), output=output)


def run_format_check():
    files = [f for folder in ("src", "tests", "bench")
             for f in glob.glob(f"{folder}/**/*.[ch]*", recursive=True)
             if f.endswith((".h", ".cpp"))]
    status, output = execute(["clang-format", "--dry-run", "-Werror", *files], environment(), 300)
    return Result(passed=int(status == 0), failed=int(status != 0), output=output)


def gtest_suites(preset, env):
    for program in sorted(glob.glob(f"build/{preset}/tests/*_test")):
        room = os.path.basename(program).removesuffix("_test")
        left_out = "" if preset == "release" else FIGURES_ONLY.get(room, "")
        yield Suite(f"{preset}/{room}", lambda program=program, left_out=left_out: run_gtest(program, env, left_out),
                    [program, f"tests/{room}", "build/models", "build/test-data"])


def all_suites(fast, bare):
    if bare:
        yield Suite("bare machine", run_bare_machine, [])
    yield Suite("format", run_format_check, ["src", "tests", "bench", ".clang-format"])
    yield from gtest_suites("release", environment())
    if os.path.exists("build/test-venv/.installed"):
        for folder in ("tests/clients", "tests/cli", "tests/browser"):
            if os.path.isdir(folder):
                yield Suite(folder, lambda folder=folder: run_pytest(folder, environment()),
                            ["build/release/sluice", "build/release/tests/libfakecuda.so", "build/release/tests/nvml", folder,
                             "tests/tools", "tests/faults", "tests/clients", "deploy"])
    if fast:
        return
    # Real models are for the release build: sanitizers make them slow and add nothing there.
    small = environment(
        ASAN_OPTIONS="detect_leaks=1:allocator_may_return_null=0",
        UBSAN_OPTIONS="print_stacktrace=1", TSAN_OPTIONS="halt_on_error=0:second_deadlock_stack=1")
    small.pop("SLUICE_TEST_MODELS", None)
    yield from gtest_suites("asan", small)
    yield from gtest_suites("tsan", small)
    for program in sorted(glob.glob("build/fuzz/fuzz/fuzz_*")):
        target = os.path.basename(program).removeprefix("fuzz_")
        corpus = f"tests/fuzz/corpus/{target}"
        yield Suite(f"fuzz/{target}", lambda p=program, c=corpus: run_fuzz(p, c), [program, corpus])


def fingerprint(suite):
    digest = hashlib.sha256(suite.name.encode())
    for path in suite.inputs:
        files = [path] if os.path.isfile(path) else sorted(
            f for f in glob.glob(f"{path}/**", recursive=True)
            if os.path.isfile(f) and "__pycache__" not in f)
        for file in files:
            digest.update(file.encode())
            if os.path.getsize(file) > 64 << 20:  # models: their digest was checked when fetched
                digest.update(str(os.stat(file).st_size).encode())
                continue
            with open(file, "rb") as opened:
                digest.update(opened.read())
    return digest.hexdigest()


def run_suite(suite, fresh):
    stamp = os.path.join(CACHE, suite.name.replace("/", "-") + ".json")
    key = fingerprint(suite)
    if suite.inputs and not fresh and os.path.exists(stamp):
        with open(stamp, encoding="utf-8") as file:
            saved = json.load(file)
        if saved["key"] == key:
            return Result(**saved["result"]), None
    started = time.monotonic()
    result = suite.run()
    if not result.failed:
        saved = dataclasses.asdict(dataclasses.replace(result, output=""))
        with open(stamp, "w", encoding="utf-8") as file:
            json.dump({"key": key, "result": saved}, file)
    return result, time.monotonic() - started


def report(suite, result, seconds):
    counts = f"{result.passed} passed, {result.failed} failed, {result.skipped} skipped"
    when = "as before" if seconds is None else f"{seconds:.1f} s"
    print(f"{'FAILED' if result.failed else 'ok    '}  {suite.name:<24} {counts} ({when})")
    for reason in sorted(set(result.reasons)):
        print(f"          skipped: {re.sub(chr(10), ' ', reason)[:160]}")
    if result.failed:
        print("\n".join("        | " + line for line in result.output.splitlines()[-200:]))
    sys.stdout.flush()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fresh", action="store_true", help="run again what passed before")
    parser.add_argument("--fast", action="store_true", help="no sanitizer builds, no fuzzing")
    parser.add_argument("--bare", action="store_true", help="run.sh in a bare Debian 12, too")
    options = parser.parse_args()
    os.chdir(ROOT)
    os.makedirs(CACHE, exist_ok=True)
    total = Result()
    suites = sorted(all_suites(options.fast, options.bare),
                    key=lambda s: LONGEST.index(s.name) if s.name in LONGEST else len(LONGEST))
    with concurrent.futures.ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        pending = {pool.submit(run_suite, suite, options.fresh): suite for suite in suites}
        for future in concurrent.futures.as_completed(pending):
            result, seconds = future.result()
            report(pending[future], result, seconds)
            total.passed += result.passed
            total.failed += result.failed
            total.skipped += result.skipped
    print(f"{total.passed} passed, {total.failed} failed, {total.skipped} skipped")
    sys.exit(1 if total.failed or not total.passed else 0)


if __name__ == "__main__":
    main()
