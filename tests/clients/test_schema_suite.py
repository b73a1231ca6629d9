"""JSON Schema's own test suite: whatever is honoured is written validly, all else refused by name."""

import pathlib
import re
import subprocess
import sys

import pytest

from conftest import ROOT

SUITE = ROOT / "build/test-data/json-schema-suite"
BENCH = ROOT / "build/release/bench/bench_grammar"


@pytest.mark.skipif(not SUITE.exists(), reason="JSON Schema's test suite could not be fetched")
@pytest.mark.skipif(not BENCH.exists(), reason="bench_grammar is not built")
def test_nothing_written_is_invalid():
    tool = pathlib.Path(ROOT, "tests/tools/check_schemas.py")
    done = subprocess.run([sys.executable, tool, BENCH, SUITE], capture_output=True, text=True)
    print(done.stdout)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    honoured = int(re.search(r"(\d+) honoured", done.stdout).group(1))
    assert honoured > 1000
