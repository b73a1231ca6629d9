#!/usr/bin/env python3
"""Do load testers agree? `sluice loadtest`, guidellm and aiperf on one server and one load.

    bench/loadtest_agreement.py [MODEL.gguf] [--clients 4] [--count 24] [--max-tokens 64] [--rounds 2]

Each sends the same prompts (none twice: a prefix cache does not flatter who comes second) from so
many clients that wait for their replies, and asks for replies of full length. The rounds alternate;
the table has the medians and their ratios to ours, ready for docs/performance.md. Without a model
the server is one of this script's, whose pace is known and which computes nothing: then the testers
do not take each other's figures away with the cores that they need. guidellm and aiperf come from
PyPI into build/peers/loadtest the first time. SLUICE_BIN names another sluice than
build/release/sluice.
"""
import argparse
import contextlib
import http.server
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import threading
import time

from serving_servers import FOLDER, ROOT, SLUICE, Sluice, model_name, say

PEERS = os.path.join(ROOT, "build/peers/loadtest")
PACKAGES = ["guidellm==0.8.*", "aiperf==0.13.*"]
FIGURES = [("tokens/s in all", "tokens_per_second", 1), ("TTFT, mean, ms", "ttft", 1e3),
           ("TTFT, p50, ms", "ttft_p50", 1e3), ("ITL of a reply, mean, ms", "itl", 1e3),
           ("end to end, mean, s", "e2e", 1), ("processor time of the tester, s", "cpu", 1)]  # theirs with their start


def install_peers():
    if os.path.exists(os.path.join(PEERS, "bin/aiperf")):
        return
    say("Installing guidellm and aiperf (some minutes)")
    subprocess.run([sys.executable, "-m", "venv", PEERS], check=True)
    subprocess.run([f"{PEERS}/bin/pip", "install", "-q", "--disable-pip-version-check", *PACKAGES],
                   check=True)


def make_prompts(count, salt):
    """Of about 60 words, each with a beginning of its own."""
    words = ("time year people way day man thing woman life child world school state family "
             "student group country problem hand part place case week company system").split()
    draw = random.Random(salt)
    return [" ".join(draw.choice(words) for _ in range(52)) + "\nTell a long story with these words."
            for _ in range(count)]


def write_lines(name, lines):
    path = os.path.join(FOLDER, name)
    with open(path, "w", encoding="utf-8") as file:
        for line in lines:
            file.write(json.dumps(line) + "\n")
    return path


def run(command, log_name, **environment):
    """Processor seconds of the command and its children; ends the program when it fails."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    log_path = os.path.join(FOLDER, log_name)
    with open(log_path, "wb") as log:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                              env=dict(os.environ, **environment), timeout=300, check=False)
    if done.returncode != 0:
        raise SystemExit(f"Error: {os.path.basename(command[0])} failed: see {log_path}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def words_tokenizer():
    """aiperf wants a tokenizer, also where the server counts: one whose tokens are words."""
    folder = os.path.join(FOLDER, "words-tokenizer")
    if not os.path.exists(os.path.join(folder, "tokenizer.json")):
        program = ("import sys, tokenizers as t, transformers\n"
                   "words = t.Tokenizer(t.models.WordLevel({'<unk>': 0}, unk_token='<unk>'))\n"
                   "words.pre_tokenizer = t.pre_tokenizers.Whitespace()\n"
                   "transformers.PreTrainedTokenizerFast(tokenizer_object=words, "
                   "unk_token='<unk>', eos_token='<unk>').save_pretrained(sys.argv[1])\n")
        run([f"{PEERS}/bin/python", "-c", program, folder], "agreement-tokenizer.log")
    return folder


def sluice(url, model, prompts, options):
    path = write_lines("agreement-prompts.jsonl", prompts)
    report = os.path.join(FOLDER, "agreement-sluice.json")
    run([SLUICE, "loadtest", url, "--api", "openai", "--model", model, "--prompts", path,
         "--count", str(len(prompts)), "--requests", str(options.clients), "--max-tokens",
         str(options.max_tokens), "--ignore-end", "--temperature", "0", "--no-warm-up", "--no-save",
         "--timeline", "0", "--json", report], "agreement-sluice.log")
    with open(report, encoding="utf-8") as file:
        point = json.load(file)["points"][0]
    return {"tokens_per_second": point["tokens_per_second"],
            "cpu": point["client_cpu_share"] * point["seconds"],
            "ttft": point["ttft_seconds"]["mean"], "ttft_p50": point["ttft_seconds"]["p50"],
            "itl": point["reply_itl_seconds"]["mean"], "e2e": point["e2e_seconds"]["mean"],
            "replies": point["num_completed"], "reply_tokens": point["mean_output_tokens"]}


def guidellm(url, model, prompts, options):
    path = write_lines("agreement-guidellm.jsonl", [
        {"prompt": prompt, "output_tokens_count": options.max_tokens} for prompt in prompts])
    report = os.path.join(FOLDER, "agreement-guidellm.json")
    cpu = run([f"{PEERS}/bin/guidellm", "run", "--disable-console", "--backend",
               json.dumps({"kind": "openai_http", "target": url, "model": model,
                           "extras": {"body": {"temperature": 0}}}),
               "--profile", f"kind=concurrent,streams={options.clients}",
               "--constraint", f"kind=max_requests,count={len(prompts)}",
               "--data", f"kind=json_file,path={path}", "--output", f"kind=json,path={report}"],
              "agreement-guidellm.log", HF_HUB_OFFLINE="1")
    with open(report, encoding="utf-8") as file:
        metrics = json.load(file)["benchmarks"][0]["metrics"]

    def of(name):
        return metrics[name]["successful"]

    return {"tokens_per_second": of("output_tokens_per_second")["mean"], "cpu": cpu,
            "ttft": of("time_to_first_token_ms")["mean"] / 1e3,
            "ttft_p50": of("time_to_first_token_ms")["percentiles"]["p50"] / 1e3,
            "itl": of("inter_token_latency_ms")["mean"] / 1e3,
            "e2e": of("request_latency")["mean"], "replies": of("request_latency")["count"],
            "reply_tokens": of("output_token_count")["mean"]}


def aiperf(url, model, prompts, options):
    path = write_lines("agreement-aiperf.jsonl", [{"text": prompt} for prompt in prompts])
    folder = os.path.join(FOLDER, "agreement-aiperf")
    cpu = run([f"{PEERS}/bin/aiperf", "profile", "--model", model, "--url", url, "--endpoint-type",
               "chat", "--streaming", "--input-file", path, "--custom-dataset-type", "single_turn",
               "--dataset-sampling-strategy", "sequential", "--concurrency", str(options.clients),
               "--request-count", str(len(prompts)), "--use-server-token-count", "--tokenizer",
               words_tokenizer(), "--extra-inputs", f"max_tokens:{options.max_tokens}", "--extra-inputs",
               "ignore_eos:true", "--extra-inputs", "temperature:0", "--ui", "none",
               "--no-gpu-telemetry", "--no-server-metrics", "--artifact-dir", folder],
              "agreement-aiperf.log")
    with open(os.path.join(folder, "profile_export_aiperf.json"), encoding="utf-8") as file:
        metrics = json.load(file)
    return {"tokens_per_second": metrics["output_token_throughput"]["avg"], "cpu": cpu,
            "ttft": metrics["time_to_first_token"]["avg"] / 1e3,
            "ttft_p50": metrics["time_to_first_token"]["p50"] / 1e3,
            "itl": metrics["inter_token_latency"]["avg"] / 1e3,
            "e2e": metrics["request_latency"]["avg"] / 1e3,
            "replies": metrics["request_count"]["avg"],
            "reply_tokens": metrics["output_sequence_length"]["avg"]}


FIRST, GAP = 0.1, 0.01  # seconds to the first token, and between two


class PacedHandler(http.server.BaseHTTPRequestHandler):
    """OpenAI's streamed chat, each token at its moment since the request came."""
    protocol_version = "HTTP/1.1"
    wbufsize = 0

    def log_message(self, *_):
        pass

    def do_GET(self):
        body = b'{"object":"list","data":[{"id":"paced","object":"model"}]}'
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def chunk(self, text):
        self.wfile.write(b"%x\r\n%s\r\n" % (len(text), text))

    def send_event(self, choices, **more):
        event = {"id": "x", "object": "chat.completion.chunk", "created": 0, "model": "paced",
                 "choices": choices, **more}
        self.chunk(b"data: " + json.dumps(event).encode() + b"\n\n")

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path != "/v1/chat/completions":  # `sluice loadtest` asks what the model is
            self.send_response(404)
            self.send_header("Content-Length", "0")
            return self.end_headers()
        start = time.monotonic()
        count = body.get("max_completion_tokens") or body["max_tokens"]
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for i in range(count):
            time.sleep(max(start + FIRST + i * GAP - time.monotonic(), 0))
            reason = "length" if i == count - 1 else None
            self.send_event([{"index": 0, "delta": {"content": " word"}, "finish_reason": reason}])
        self.send_event([], usage={"prompt_tokens": 60, "completion_tokens": count,
                                   "total_tokens": 60 + count})
        self.chunk(b"data: [DONE]\n\n")
        return self.chunk(b"")


@contextlib.contextmanager
def paced_server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), PacedHandler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def truth(options):
    """What a tester of a server of known pace should find."""
    e2e = FIRST + GAP * (options.max_tokens - 1)
    return {"tokens_per_second": options.clients * options.max_tokens / e2e, "ttft": FIRST,
            "ttft_p50": FIRST, "itl": GAP, "e2e": e2e}


TESTERS = {"sluice": sluice, "guidellm": guidellm, "aiperf": aiperf}


def print_table(results):
    middle = {name: {key: statistics.median(one[key] for one in rounds) for key in rounds[0]}
              for name, rounds in results.items()}
    print("\n| | " + " | ".join(TESTERS) + " | ours to guidellm's | to aiperf's |")
    print("|---" * (len(TESTERS) + 3) + "|")
    for title, key, scale in FIGURES:
        values = [middle[name][key] for name in TESTERS]
        ratios = [values[0] / value if value else float("nan") for value in values[1:]]
        print(f"| {title} | " + " | ".join(f"{value * scale:.4g}" for value in values) + " | " +
              " | ".join(f"{ratio:.3f}" for ratio in ratios) + " |")
    for name, one in middle.items():
        say(f"{name}: {one['replies']:.0f} replies of {one['reply_tokens']:.1f} tokens")


def measure_all(url, name, options):
    results = {tester: [] for tester in TESTERS}
    sluice(url, name, make_prompts(options.clients, 0), options)  # loads the model
    for number in range(options.rounds):
        for place, (tester, measure) in enumerate(TESTERS.items()):
            begin = time.monotonic()
            salt = 1 + number * len(TESTERS) + place
            figures = measure(url, name, make_prompts(options.count, salt), options)
            results[tester].append(figures)
            say(f"round {number + 1}, {tester}: {figures['tokens_per_second']:.1f} tokens/s, "
                f"{time.monotonic() - begin:.0f} s")
    return results


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("model", nargs="?", help="a GGUF file (default: a server of known pace)")
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--count", type=int, default=24, help="requests of each tester and round")
    parser.add_argument("--max-tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    os.makedirs(FOLDER, exist_ok=True)
    install_peers()
    if options.model:
        options.shield = None
        with Sluice([options.model], [], options) as server:
            results = measure_all(f"http://{server.url}", model_name(options.model), options)
    else:
        with paced_server() as address:
            results = measure_all(f"http://{address}", "paced", options)
        say("known: " + ", ".join(f"{key} {value:.4g}" for key, value in truth(options).items()))
    print_table(results)


if __name__ == "__main__":
    main()
