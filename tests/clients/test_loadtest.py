"""`sluice loadtest` as a user has it: own prompts, goals, and the runs that are kept."""

import http.server
import json
import re
import resource
import subprocess
import threading

import pytest
from conftest import MODEL, clean_environment, program, run_sluice, with_cards
from terminal import Terminal, screen_of

QUICK = ["--model", MODEL, "--api", "openai", "--count", "4", "--requests", "2", "--max-tokens", "6",
         "--no-warm-up"]


@pytest.fixture
def loadtest(server, home, tmp_path):
    def run(*arguments, check=True, **more):
        return run_sluice("loadtest", *arguments, home=home, check=check, environment={
            "SLUICE_HOST": server.url, "SLUICE_RUNS": str(tmp_path / "runs.db"), **more})

    return run


def test_own_prompts_are_measured_kept_and_compared(loadtest, tmp_path):
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text('{"prompt": "Name a river.", "max_tokens": 3}\nName a sea.\n')
    report = tmp_path / "report.json"
    done = loadtest(*QUICK, "--prompts", str(prompts), "--json", str(report),
                    "--goal", "ttft_p95<60s,e2e_max<60s")
    assert "2 prompts from a file" in done.stdout
    assert "end to end, s" in done.stdout and "+-" in done.stdout
    assert "met; goodput" in done.stdout
    assert "Kept as run 1" in done.stderr
    point = json.loads(report.read_text())["points"][0]
    assert sorted(request["max_tokens"] for request in point["requests"]) == [3, 3, 6, 6]
    assert point["goal"]["is_met"] and point["e2e_seconds"]["count"] == 4
    loadtest(*QUICK, "--input-tokens", "20-40", "--output-tokens", "4")
    loadtest(*QUICK, "--input-tokens", "20-40", "--output-tokens", "4")
    listed = loadtest("list").stdout.splitlines()
    assert [line.split()[:2] for line in listed[1:]] == [["3", "sized"], ["2", "sized"], ["1", "prompts"]]
    shown = loadtest("show", "1").stdout
    assert shown.strip() == done.stdout.strip()
    assert json.loads(loadtest("show", "1", "--json").stdout)[0]["clients"] == 2
    compared = loadtest("compare", "2", "3").stdout
    assert "2 clients" in compared and "first token (TTFT), ms" in compared and "+-" in compared


LIVE = [r"2 clients, line 1", r"\[=* *\] +\d+%  \d+s.*", r"requests +\d running +\d+ done +0 failed",
        r"tokens/s +[\d.]+ now +[\d.]+ so far", r"TTFT, ms +(\d+|-) p50 +(\d+|-) p95",
        r"ITL, ms +([\d.]+|-) p50 +([\d.]+|-) p95"]


def test_a_terminal_shows_how_it_goes(home, server):
    terminal = Terminal(home, "loadtest", "--model", MODEL, "--test", "clients", "--requests", "2",
                        "--duration", "2", "--max-tokens", "20", "--no-save", host=server.url)
    terminal.drain(1.5)
    seen = screen_of(terminal.raw_output)
    assert len(seen) == len(LIVE), seen
    for line, pattern in zip(seen, LIVE):
        assert re.fullmatch(pattern, line), (line, pattern)
    now, so_far = map(float, re.findall(r"[\d.]+", seen[3]))
    assert now > 0 and so_far > 0
    assert re.search(r"\d p50 +\d+ p95", seen[4]) and re.search(r"\d p50 +[\d.]+ p95", seen[5]), seen
    assert terminal.wait() == 0
    left = screen_of(terminal.raw_output)
    assert re.fullmatch(r"2 clients: \d+ done, [\d.]+ tokens/s", left[0]), left
    assert not any("so far" in line for line in left), "it is gone when the figures are there"


@pytest.mark.parametrize("size", [(5, 20), (7, 80)])
def test_a_low_terminal_shows_one_line(home, server, size):
    terminal = Terminal(home, "loadtest", "--model", MODEL, "--test", "clients", "--requests", "2",
                        "--duration", "1", "--max-tokens", "20", "--no-save", host=server.url, size=size)
    terminal.drain(0.8)
    seen = screen_of(terminal.raw_output)
    assert len(seen) == 1 and seen[0].startswith("2 clients: "), seen
    assert len(seen[0]) < size[1]
    assert terminal.wait() == 0


def test_elsewhere_a_line_of_the_report_is_told_once(loadtest):
    done = loadtest(*QUICK, "--test", "clients", "--no-save")
    assert re.fullmatch(r"2 clients: 4 done, [\d.]+ tokens/s\n", done.stderr), done.stderr
    assert "\033" not in done.stderr


def test_waves_are_kept_too(loadtest):
    wave = ["--model", MODEL, "--test", "output", "--words", "5", "--max-tokens", "4",
            "--requests", "2", "--no-warm-up"]
    loadtest(*wave)
    loadtest(*wave)
    assert "output, 5 words, 2 at a time" in loadtest("compare", "1", "2").stdout
    loadtest(*wave, "--no-save")
    assert len(loadtest("list").stdout.splitlines()) == 3


def test_the_article_is_written(loadtest, home, tmp_path):
    article, run = tmp_path / "article.html", tmp_path / "run.json"
    loadtest("--model", MODEL, "--test", "output", "--words", "5", "--max-tokens", "16",
             "--requests", "1,2", "--timeline", "0.05", "--report", str(article),
             "--json", str(run))
    html = article.read_text()
    assert html.count("<svg") >= 6 and "What bounds the speed?" in html
    assert "one user, by the memory" in html and "<script" not in html
    document = json.loads(run.read_text())
    assert document["machine"]["read_bytes_per_second"] > 1e8
    assert document["model_facts"]["weights_bytes"] > 0
    assert document["model_facts"]["server"].startswith("Sluice ")
    assert "The machine's cores" in html and "was in the page cache at first" in html
    assert all(0 <= point["page_cache_share"] <= 1 for point in document["timeline"])
    assert sum(point["length_seconds"] for point in document["timeline"]) > 0
    assert all(point["resident_bytes"] > 1e6 for point in document["timeline"])
    compared = run_sluice("report", str(run), str(run), home=home).stdout
    assert "| output, 5 words | 1 |" in compared and "| 1.00 |" in compared


def test_the_article_has_ceilings_of_the_machine_and_its_cards(loadtest, tmp_path):
    article, run = tmp_path / "article.html", tmp_path / "run.json"
    loadtest("--model", MODEL, "--test", "clients", "--requests", "2", "--duration", "1.5",
             "--max-tokens", "40", "--timeline", "0.1", "--report", str(article),
             "--json", str(run), **with_cards())
    machine = json.loads(run.read_text())["machine"]
    assert machine["gpus"] == ["Fake H200", "Fake A30"]
    assert machine["card"]["power_watts"] == 700 and machine["card"]["clock_mhz"] == 1980
    assert machine["disk_bytes_per_second"] >= 0
    html = article.read_text()
    for title in ("GPU: power", "GPU: clock", "GPU: temperature", "GPU: PCIe", "GPU: NVLink"):
        assert f"<h3>{title}</h3>" in html, title
    for ceiling in ("the card&#39;s limit", "its highest", "it slows down from here on", "the link&#39;s",
                    "places to run"):
        assert ceiling.replace("&#39;", "'") in html, ceiling
    plots = [part.split("</figure>")[0] for part in html.split("<figure>")[1:]]
    assert len(plots) >= 12
    for plot in plots:
        assert any(word in plot for word in ('class="bound', 'class="heat"')), plot[:200]


def test_kept_runs_become_articles(loadtest, home, tmp_path):
    def report(*arguments, check=True):
        return run_sluice("report", *arguments, home=home, check=check,
                          environment={"SLUICE_RUNS": str(tmp_path / "runs.db")})

    done = report(check=False)
    assert done.returncode == 1 and "no load test has been kept" in done.stderr
    loadtest(*QUICK, "--test", "clients", "--timeline", "0.05")
    loadtest(*QUICK, "--input-tokens", "20")
    assert "| sized |" in report().stdout
    article = report("1").stdout  # for which the memory is measured, a second of its own
    assert "| clients |" in article and "Processor" in article and ", read at " in article
    compared, html, whole = report("1", "2").stdout, tmp_path / "r.html", tmp_path / "r.json"
    assert "## run 1" in compared and "## run 2" in compared
    report("1", "-o", str(html))
    assert html.read_text().count("<svg") >= 3
    report("1", "-o", str(whole))
    assert len(json.loads(whole.read_text())["points"][0]["requests"]) == 4
    assert "| clients |" in report(str(whole)).stdout
    for wrong, text in [("9", "there is no run 9"), ("-1", ""), ("./1", "./1"), ("99999999999999999999", "")]:
        done = report(wrong, check=False)
        assert done.returncode != 0 and text in done.stderr, done


def test_reports_of_what_is_no_run_are_refused(loadtest, home, tmp_path):
    wrong = tmp_path / "wrong.json"
    wrong.write_text('{"program": "another"}')
    for arguments, text in [((str(wrong),), "is not a file that"), (("/nosuch.json",), "nosuch"),
                            ((str(wrong), "-o", "x.pdf"), ".html, .md, .csv or .json")]:
        done = run_sluice("report", *arguments, home=home, check=False)
        assert done.returncode == 1 and text in done.stderr, done.stderr
    done = loadtest(*QUICK, "--report", "x.pdf", check=False)
    assert done.returncode == 1 and ".html, .md, .csv or .json" in done.stderr


def test_traces_are_sent_again(loadtest, tmp_path):
    def replay(text, *more, check=True):
        (tmp_path / "trace").write_text(text)
        return loadtest("--model", MODEL, "--api", "openai", "--no-warm-up", "--trace",
                        str(tmp_path / "trace"), "--json", str(tmp_path / "run.json"), *more,
                        check=check)

    # The first prompt is computed before the others come, also on a slow machine.
    shared = [json.dumps({"timestamp": timestamp, "input_length": 540 + i, "output_length": 3,
                          "hash_ids": [1, 10 + i]}) for i, timestamp in enumerate((0, 4000, 4400))]
    done = replay("\n".join(shared), "--speedup", "2,8", "--goal", "e2e<60s")
    assert "3 requests of" in done.stdout and "trace, speed x8" in done.stdout
    assert "came from the server's prefix cache" in done.stdout
    points = json.loads((tmp_path / "run.json").read_text())["points"]
    assert [point["speedup"] for point in points] == [2, 8]
    due = [request["due_ns"] / 1e9 for request in points[0]["requests"]]  # as they ended
    assert 2.1 < max(due) < 7
    burst = "Timestamp,Model,Request tokens,Response tokens\n5,a,30,4\n6,a,30,0\n5.2,a,30,2\n"
    assert "(1 without a reply are left out)" in replay(burst).stdout
    assert "the trace, speed x1" not in loadtest("compare", "1", "2").stdout
    wrong = replay(burst + "7,a,many,1\n", check=False)
    assert wrong.returncode == 1 and 'trace, line 5: "Request tokens" should be' in wrong.stderr


def test_chats_share_and_clients_leave(loadtest, tmp_path):
    run = tmp_path / "run.json"
    usual = ["--model", MODEL, "--api", "openai", "--count", "12", "--requests", "2", "--no-warm-up",
             "--ignore-end", "--json", str(run)]
    done = loadtest(*usual, "--input-tokens", "20", "--output-tokens", "20", "--shared-prefix", "64",
                    "--turns", "3")
    assert "chats of 3 turns, after the same 64 words" in done.stdout
    assert "TTFT of turn 3, ms" in done.stdout and "came from the server's prefix cache" in done.stdout
    done = loadtest(*usual, "--test", "clients", "--max-tokens", "20", "--cancel-rate", "1")
    assert "12 cancelled" in done.stdout and "failed" not in done.stdout
    assert json.loads(run.read_text())["points"][0]["num_cancelled"] == 12


def test_loads_are_repeated_until_they_are_steady(loadtest):
    done = loadtest(*QUICK, "--test", "clients", "--repeat-until-steady", "100")
    assert "is within 100%" in done.stdout and "times: " in done.stdout
    done = loadtest("--model", MODEL, "--test", "output", "--words", "5", "--max-tokens", "4",
                    "--requests", "1", "--no-warm-up", "--repeat-until-steady", "100")
    assert "output, 5 words, 1 at a time" in done.stdout
    assert "+-" in loadtest("compare", "1", "1").stdout


def test_a_search_says_what_it_found(loadtest):
    done = loadtest(*QUICK, "--test", "clients", "--goal", "ttft_max<0.001ms", "--search")
    assert "No load that was tried meets the goal; the lowest was 1 clients." in done.stdout


@pytest.mark.parametrize("arguments, text", [
    (["--goal", "ttft<5"], "has no time as its limit"),
    (["--goal", "ttft<5s", "--test", "output"], "--goal needs"),
    (["--search", "--test", "mixed"], "--search needs a --goal"),
    (["--prompts", "/nonexistent"], "/nonexistent"),
    (["--prompts", "/dev/null"], ""),
    (["--trace", "/nonexistent"], "/nonexistent"),
    (["--trace", "/dev/null"], ""),
    (["--trace", "x", "--rate", "1"], "--speedup instead of"),
    (["--trace", "x", "--output-tokens", "5"], "lengths of its own"),
    (["--repeat-until-steady", "5", "--repeat", "2"], "without --search and --repeat"),
    (["--turns", "2", "--rate", "1"], "--turns needs"),
    (["--turns", "2", "--test", "output"], "--turns and --shared-prefix need"),
    (["--shared-prefix", "2", "--test", "output"], "--turns and --shared-prefix need"),
    (["--cancel-rate", "0.2", "--test", "all"], "--cancel-rate needs"),
    (["--speedup", "2"], "--speedup needs a --trace"),
    (["--prompts", "x", "--input-tokens", "5"], "leave --input-tokens"),
    (["--input-tokens", "9-5"], "--input-tokens should be"),
    (["--header", "no colon"], "--header should be"),
    (["--header", "X-A: b\r\nX-C: d"], "--header should be"),
    (["show", "7"], "yet"),
    (["compare", "1", "2"], "yet"),
    (["list"], "yet"),
])
def test_what_is_wrong_is_said(loadtest, arguments, text):
    is_test = arguments[0].startswith("--")
    usual = ["--model", MODEL] if is_test else []
    if is_test and "--test" not in arguments:
        usual += ["--test", "clients"]
    done = loadtest(*usual, *arguments, check=False)
    assert done.returncode == 1, done
    assert done.stderr.startswith("Error: ") and text in done.stderr, done.stderr


def test_completions_and_embeddings_are_measured_too(loadtest, tmp_path):
    run = tmp_path / "run.json"
    usual = ["--model", MODEL, "--input-tokens", "20", "--output-tokens", "4", "--count", "4",
             "--requests", "2", "--no-warm-up", "--json", str(run)]
    for api, tokens in (("completions", 4), ("embeddings", 0)):
        done = loadtest(*usual, "--api", api)
        assert f"({api} API)" in done.stdout and "failed" not in done.stdout, done
        point = json.loads(run.read_text())["points"][0]
        assert point["num_completed"] == 4 and point["mean_prompt_tokens"] > 10
        assert point["mean_output_tokens"] <= tokens
    assert "prompt tokens/s in all" in done.stdout
    assert point["e2e_seconds"]["count"] == 4 and point["ttft_seconds"]["count"] == 0


def test_queue_time_and_second_tokens_are_told(loadtest):
    for api in ("ollama", "openai"):
        done = loadtest("--model", MODEL, "--api", api, "--test", "clients", "--count", "6",
                        "--requests", "3", "--max-tokens", "6", "--no-warm-up")
        assert "in the server's queue, ms" in done.stdout, api
        assert "first to second token, ms" in done.stdout


def test_failures_are_counted_by_kind(home, server, tmp_path):
    run = tmp_path / "run.json"
    done = run_sluice("loadtest", "--model", "missing", "--test", "clients", "--count", "3",
                      "--requests", "1", "--no-warm-up", "--no-save", "--json", str(run), home=home,
                      check=False, environment={"SLUICE_HOST": server.url})
    assert done.returncode == 1 and "3 HTTP 404" in done.stdout, done
    assert json.loads(run.read_text())["points"][0]["failures"] == {"HTTP 404": 3}


def test_headers_are_sent(home, server, loadtest):
    # Sluice says an id of the client's in its reply: the log has it.
    loadtest(*QUICK, "--test", "clients", "--header", "X-Request-Id: from-the-flag")
    server.wait_for(lambda status: any("from-the-flag" in line for line in server.log), 10)


@pytest.mark.parametrize("runs", ["/dev/full/runs.db", "/proc/runs.db"])
def test_a_run_that_cannot_be_kept_is_measured_all_the_same(loadtest, runs):
    done = loadtest(*QUICK, "--test", "clients", SLUICE_RUNS=runs)
    assert "Warning: this run is not kept" in done.stderr
    assert "end to end" in done.stdout


def test_what_cannot_be_written_does_not_lose_the_results(loadtest):
    done = loadtest(*QUICK, "--test", "clients", "--json", "/dev/full", check=False)
    assert done.returncode == 1 and "/dev/full" in done.stderr
    assert "end to end" in done.stdout and "Kept as run 1" in done.stderr


@pytest.fixture(scope="module")
def chatterbox():
    """A server whose replies have 200,000 pieces."""
    piece = b'data: {"choices":[{"delta":{"content":"x"}}]}\n\n'
    body = piece * 200_000 + (b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\n'
                              b"data: [DONE]\n\n")

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self):
            self.send_error(404)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_run_too_large_for_the_memory_keeps_its_table(chatterbox, home, tmp_path):
    """A million pieces: 8 MB as they are measured, many times that as a document."""
    seen = set()
    for megabytes in range(30, 130, 10):
        runs = tmp_path / f"{megabytes}.db"
        report = tmp_path / f"{megabytes}.json"
        env = dict(clean_environment(home), SLUICE_HOST=chatterbox, SLUICE_RUNS=str(runs))
        limit = lambda: resource.setrlimit(resource.RLIMIT_DATA, (megabytes << 20,) * 2)
        done = subprocess.run(
            [program(), "loadtest", "--model", "m", "--api", "openai", "--test", "clients", "--count",
             "5", "--requests", "1", "--no-warm-up", "--json", str(report)],
            env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120,
            preexec_fn=limit, check=False)
        what = (megabytes, done)
        assert done.returncode in (0, 1), what
        if "only the table is kept" in done.stderr:
            assert "end to end" in done.stdout and "Kept as run 1" in done.stderr, what
            assert done.returncode == 1 and "is not written" in done.stderr, what
            shown = run_sluice("loadtest", "show", "1", home=home,
                               environment={"SLUICE_RUNS": str(runs)})
            assert "end to end" in shown.stdout
            seen.add("table")
        elif done.returncode == 0:
            assert len(json.loads(report.read_text())["points"][0]["requests"]) == 5
            seen.add("whole")
    assert "table" in seen
