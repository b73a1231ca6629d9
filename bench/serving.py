#!/usr/bin/env python3
"""Many users at once: Sluice and its peers over HTTP, alternately, on the same machine and files.

    bench/serving.py clients MODEL.gguf...   N clients, each streams 128 tokens again and again
    bench/serving.py mixed MODEL.gguf        Poisson arrivals, prompts and replies of many lengths
    bench/serving.py prefix MODEL.gguf...    a system prompt of 1,000 tokens, shared: TTFT
    bench/serving.py beside MODEL.gguf...    the ITL of who decodes while long prompts keep arriving
    bench/serving.py overload MODEL.gguf     twice the load that the server can carry
    bench/serving.py queue MODEL.gguf        what 10,000 waiting requests cost in memory

The load comes from `sluice loadtest` (tests "clients" and "mixed": see its --help), which takes a
few percent of a core. Peers: llama.cpp's llama-server, built for this processor the first time, and
OpenVINO GenAI in process, both fetched into build/. Prints Markdown tables with the processor's
name, ready for docs/performance.md; raw figures and logs are in build/serving/. SLUICE_BIN names
another sluice than build/release/sluice.
"""
import argparse
import http.client
import json
import os
import resource
import socket
import statistics
import threading
import time

from serving_servers import (FOLDER, LlamaServer, OpenVino, Sluice, llama_arguments, llama_cpp,
                             loadtest, model_name, say, shield_this_process)

STORY = "tell a story in 800 words:"
STORY_TOKENS = 128
MIX_CONTEXT = 2304  # longest prompt and reply of the mix, with the template's tokens


def median(values):
    values = [value for value in values if value is not None]
    return statistics.median(values) if values else None


def cell(value, digits=1, scale=1):
    return "-" if value is None else f"{value * scale:.{digits}f}"


def ratio(mine, other):
    return f"{mine / other:.2f}" if mine and other else "-"


def triple(points, name, digits=0):
    """Medians of p50, p95 and p99 over the rounds, in ms."""
    values = [median([point[name][key] for point in points]) for key in ("p50", "p95", "p99")]
    return " / ".join(cell(value, digits, 1e3) for value in values)


def table(*columns):
    print("\n| " + " | ".join(columns) + " |")
    print("|" + "---|" * len(columns))


def row(*cells):
    print("| " + " | ".join(str(text) for text in cells) + " |", flush=True)


def introduce(options, what):
    shield = f", all programs shielded ({options.shield})" if options.shield else ""
    print(f"`{what}`\n\n{llama_cpp.processor()}{shield}, {time.strftime('%-d %B %Y')}")


def keep_raw(name, document):
    with open(os.path.join(FOLDER, f"{name}.json"), "w", encoding="utf-8") as file:
        json.dump(document, file, indent=1)


# --- N clients -------------------------------------------------------------------------------

def story_arguments(clients, seconds, number, options):
    return ["--test", "clients", "--requests", str(clients), "--words", "800", "--max-tokens",
            str(STORY_TOKENS), "--duration", str(seconds), "--drain", "0", "--temperature",
            str(options.temperature), "--seed", str(1 + 100_000 * number), "--ignore-end"]


def start_peers(model, clients, options):
    """The peers that stay up while one number of clients is measured."""
    peers = []
    if "llama" in options.peers:
        arguments = llama_arguments(clients, 256) + options.llama_flag
        peers.append(LlamaServer(model, arguments, options))
    if "llama-defaults" in options.peers:
        peers.append(LlamaServer(model, [], options, "llama.cpp, defaults"))
    return peers


def measure_clients(servers, openvino, model, clients, options):
    """{label: points of its rounds}, one server after the other in every round."""
    # Many clients take longer to get their first token; a long line needs no repetition.
    seconds = options.seconds * max(1, clients / 32)
    rounds = options.rounds if clients <= 32 else 1
    figures = {}
    for number in range(rounds):
        for server in servers:
            say(f"{model_name(model)}, {clients} clients: {server.label}, round {number + 1}")
            points = loadtest(server, model_name(model),
                              story_arguments(clients, seconds, number, options), options)
            figures.setdefault(server.label, []).extend(points)
        if openvino:
            say(f"{model_name(model)}, {clients} clients: OpenVINO, round {number + 1}")
            figures.setdefault("OpenVINO", []).append(openvino.ask(
                clients=clients, tokens=STORY_TOKENS, waves=1, prompt=STORY))
    return figures


def print_clients(model, results, options):
    labels = list(dict.fromkeys(label for figures in results.values() for label in figures))
    peers = [label for label in labels if label != "Sluice"]
    print(f"\n{os.path.basename(model)}, tokens/s of all clients together; medians of "
          f"{options.rounds} alternating rounds of {options.seconds:g} s (64 and 256 clients: one, "
          "of 2 and 8 times that).")
    table("clients", "Sluice", *(text for peer in peers for text in (peer, "ratio")))
    for clients, figures in results.items():
        speeds = {label: median([point["tokens_per_second"] for point in points])
                  for label, points in figures.items()}
        row(clients, cell(speeds["Sluice"]),
            *(text for peer in peers
              for text in (cell(speeds.get(peer)), ratio(speeds["Sluice"], speeds.get(peer)))))
    table("clients", "server", "TTFT p50 / p95 / p99, ms", "ITL p50 / p95 / p99, ms",
          "tokens a reply", "refused", "failed", "load generator, of a core")
    for clients, figures in results.items():
        for label, points in figures.items():
            if "ttft_seconds" not in points[0]:
                continue
            row(clients, label, triple(points, "ttft_seconds"), triple(points, "itl_seconds", 1),
                cell(median([point["mean_output_tokens"] for point in points]), 0),
                sum(point["num_refused"] for point in points),
                sum(point["num_errors"] for point in points),
                f"{median([point['client_cpu_share'] for point in points]):.0%}")


def clients_mode(options):
    introduce(options, "bench/serving.py clients " + " ".join(map(os.path.basename,
                                                                  options.models)))
    most = max(options.clients)
    for model in options.models:
        arguments = ["-c", "1024", "--parallel", str(max(64, most // 4))]
        openvino = OpenVino(model, options) if "openvino" in options.peers else None
        results = {}
        with Sluice([model], arguments + options.sluice_flag, options) as sluice:
            try:
                if openvino:
                    openvino.ask(clients=2, tokens=16, waves=1, prompt=STORY)
                for clients in options.clients:
                    peers = start_peers(model, clients, options)
                    try:
                        results[clients] = measure_clients([sluice, *peers], openvino, model,
                                                           clients, options)
                        commands = [server.shown_command() for server in (sluice, *peers)]
                    finally:
                        for peer in peers:
                            peer.stop()
            finally:
                if openvino:
                    openvino.__exit__()
        print_clients(model, results, options)
        print("\n" + "\n".join(f"    {command}" for command in commands))
        keep_raw(f"clients-{model_name(model)}", results)


# --- mixed traffic ---------------------------------------------------------------------------

def mixed_arguments(load, seconds, number, options):
    return ["--test", "mixed", "--mix", options.mix, *load, "--duration", str(seconds), "--drain",
            "120", "--temperature", str(options.temperature), "--seed", str(1 + number)]


def mixed_row(label, points):
    return [label, sum(point["num_completed"] for point in points),
            cell(median([point["mean_prompt_tokens"] for point in points]), 0) + " / " +
            cell(median([point["mean_output_tokens"] for point in points]), 0),
            cell(median([point["tokens_per_second"] for point in points])),
            triple(points, "ttft_seconds"), triple(points, "itl_seconds", 1),
            sum(point["num_refused"] for point in points),
            sum(point["num_errors"] + point["num_cut_off"] for point in points)]


MIXED_COLUMNS = ["server", "replies", "tokens in / out, mean", "tokens/s in all",
                 "TTFT p50 / p95 / p99, ms", "ITL p50 / p95 / p99, ms", "refused",
                 "failed or cut off"]


def mixed_mode(options):
    introduce(options, "bench/serving.py mixed --mix " + options.mix)
    for model in options.models:
        with Sluice([model], ["--parallel", str(options.slots)] + options.sluice_flag,
                    options) as sluice:
            servers = [sluice]
            try:
                if "llama" in options.peers:
                    servers.append(LlamaServer(
                        model, llama_arguments(options.slots, MIX_CONTEXT) + options.llama_flag,
                        options))
                if "llama-defaults" in options.peers:
                    servers.append(LlamaServer(model, [], options, "llama.cpp, defaults"))
                compare_mixed(servers, model, options)
            finally:
                for server in servers:
                    server.stop()


def compare_mixed(servers, model, options):
    print(f"\n{os.path.basename(model)}, mix {options.mix}, {options.seconds:g} s of Poisson "
          f"arrivals a round, {options.rounds} alternating rounds.")
    table("requests/s", *MIXED_COLUMNS)
    for rate in options.rates:
        figures = {}
        for number in range(options.rounds):
            for server in servers:
                say(f"{model_name(model)}, {rate:g} requests/s: {server.label}, round {number + 1}")
                points = loadtest(server, model_name(model),
                                  mixed_arguments(["--rate", str(rate)], options.seconds,
                                                  1000 * number + int(100 * rate), options),
                                  options)
                figures.setdefault(server.label, []).extend(points)
        for label, points in figures.items():
            row(f"{rate:g}", *mixed_row(label, points))
    print("\n" + "\n".join(f"    {server.shown_command()}" for server in servers))


# --- a shared prefix -------------------------------------------------------------------------

def system_prompt(number, tokens):
    """Everyday text of about so many tokens; another `number` shares no beginning."""
    with open("/usr/share/common-licenses/GPL-3", encoding="utf-8") as file:
        words = file.read().split()
    start = 100 + 397 * (number % 10)
    return f"Rule book {number}. " + " ".join(words[start:start + int(tokens * 0.80)])


def ask_once(server, model, system, question):
    """(TTFT in seconds, prompt tokens, cached tokens) of one streamed reply."""
    body = {"model": model, "stream": True, "stream_options": {"include_usage": True},
            "temperature": 0, "max_tokens": 8,
            "messages": [{"role": "system", "content": system},
                         {"role": "user", "content": question}]}
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=600)
    begin = time.perf_counter()
    connection.request("POST", "/v1/chat/completions", json.dumps(body),
                       {"Content-Type": "application/json"})
    ttft, usage = None, {}
    for line in connection.getresponse():
        if not line.startswith(b"data: {"):
            continue
        chunk = json.loads(line[6:])
        if ttft is None and any(c["delta"].get("content") for c in chunk.get("choices", [])):
            ttft = time.perf_counter() - begin
        usage = chunk.get("usage") or usage
    connection.close()
    details = usage.get("prompt_tokens_details") or {}
    return ttft, usage.get("prompt_tokens", 0), details.get("cached_tokens", 0)


def prefix_mode(options):
    shield_this_process(options)
    introduce(options, "bench/serving.py prefix " + " ".join(map(os.path.basename, options.models)))
    print(f"\nTTFT of two requests with the same system prompt of about {options.tokens} tokens "
          f"and different questions; medians of {options.rounds} system prompts, idle server.")
    table("model", "server", "prompt tokens", "cached of the second", "first, ms", "second, ms",
          "times shorter")
    for model in options.models:
        with Sluice([model], options.sluice_flag, options) as sluice:
            servers = [sluice]
            try:
                if "llama" in options.peers:
                    servers.append(LlamaServer(
                        model, llama_arguments(4, 4096) + options.llama_flag, options))
                for server in servers:
                    print_prefix(server, model, options)
            finally:
                for server in servers:
                    server.stop()


def print_prefix(server, model, options):
    name = model_name(model)
    ask_once(server, name, "Be brief.", "Hello?")
    firsts, seconds = [], []
    for number in range(options.rounds):
        say(f"{name}: {server.label}, system prompt {number + 1}")
        system = system_prompt(number, options.tokens)
        firsts.append(ask_once(server, name, system, "What may I copy?"))
        seconds.append(ask_once(server, name, system, "Who wrote these rules, and why?"))
    first, second = (median([ttft for ttft, _, _ in asked]) for asked in (firsts, seconds))
    row(os.path.basename(model), server.label, firsts[0][1], seconds[0][2], cell(first, 1, 1e3),
        cell(second, 1, 1e3), ratio(first, second))


# --- decoding beside prompts -----------------------------------------------------------------

class Prompts:
    """A client that sends long prompts without a pause and wants one token of each."""

    def __init__(self, server, model, tokens):
        self.server, self.model, self.tokens = server, model, tokens
        self.num_tokens, self.is_over = 0, False
        self.thread = threading.Thread(target=self.run)

    def __enter__(self):
        self.begin = time.perf_counter()
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.is_over = True
        self.thread.join()

    def run(self):
        number = 0
        while not self.is_over:
            number += 1
            self.num_tokens += self.ask(f"Number {number}. {system_prompt(number, self.tokens)}")
            self.end = time.perf_counter()

    def ask(self, prompt):
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=600)
        body = {"model": self.model, "prompt": prompt, "max_tokens": 1}
        connection.request("POST", "/v1/completions", json.dumps(body),
                           {"Content-Type": "application/json"})
        usage = json.loads(connection.getresponse().read())["usage"]
        connection.close()
        details = usage.get("prompt_tokens_details") or {}
        return usage["prompt_tokens"] - details.get("cached_tokens", 0)

    def rate(self):
        return self.num_tokens / (self.end - self.begin)


def decode_gaps(server, model, clients, options):
    """Seconds between the pieces of all replies, sorted."""
    arguments = story_arguments(clients, options.seconds, 0, options)
    arguments[arguments.index("--max-tokens") + 1] = "512"  # few starts of their own
    gaps = []
    for request in loadtest(server, model, arguments, options)[0]["requests"]:
        pieces = request["pieces_ns"]
        gaps += [(after - before) / 1e9 for before, after in zip(pieces, pieces[1:])]
    return sorted(gaps)


def gap_figures(gaps):
    figures = [sum(gaps) / len(gaps)] + [gaps[int(share * (len(gaps) - 1))]
                                         for share in (0.5, 0.95, 0.99)]
    return figures, " / ".join(cell(value, 1, 1e3) for value in figures)


def beside_mode(options):
    introduce(options, f"bench/serving.py beside --tokens {options.tokens}")
    print(f"\nITL, ms: mean / p50 / p95 / p99 of clients that decode, alone and while prompts of "
          f"about {options.tokens} tokens arrive without a pause; {options.seconds:g} s each.")
    table("model", "clients", "alone", "beside prompts", "mean, times", "prefill, tokens/s")
    for model in options.models:
        with Sluice([model], ["-c", "4096"] + options.sluice_flag, options) as sluice:
            name = model_name(model)
            ask_once(sluice, name, "Be brief.", "Hello?")
            for clients in options.clients:
                say(f"{name}, {clients} clients")
                alone, alone_text = gap_figures(decode_gaps(sluice, name, clients, options))
                with Prompts(sluice, name, options.tokens) as prompts:
                    beside, beside_text = gap_figures(decode_gaps(sluice, name, clients, options))
                row(os.path.basename(model), clients, alone_text, beside_text,
                    ratio(beside[0], alone[0]), cell(prompts.rate(), 0))


# --- overload --------------------------------------------------------------------------------

def overload_mode(options):
    introduce(options, f"bench/serving.py overload --mix {options.mix}")
    for model in options.models:
        arguments = ["--parallel", str(options.slots), "--max-queue", str(options.max_queue)]
        with Sluice([model], arguments + options.sluice_flag, options) as sluice:
            carried, over = [], []
            for number in range(options.rounds):
                measure_overload(sluice, model_name(model), number, carried, over, options)
            print_overload(model, carried, over, options)
            print(f"\n    {sluice.shown_command()}")


def enough_clients(options):
    return options.slots + options.max_queue // 2  # that no place is ever empty


def requests_per_second(point):
    return point["tokens_per_second"] / point["mean_output_tokens"]


def measure_overload(sluice, name, number, carried, over, options):
    """What the server carries, then a multiple of that; adds a point to each list."""
    for points in (carried, over):
        if points is carried:
            load = ["--requests", str(enough_clients(options))]
        else:
            load = ["--rate", f"{options.times * requests_per_second(carried[-1]):.3f}"]
        say(f"{name}, round {number + 1}: {' '.join(load)}")
        seed = 2 * number + (points is over)  # no prompt is ever in the cache
        points += loadtest(sluice, name, mixed_arguments(load, options.seconds, seed, options),
                           options)


def print_overload(model, carried, over, options):
    print(f"\n{os.path.basename(model)}, mix {options.mix}, {options.rounds} alternating rounds of "
          f"{options.seconds:g} s; at most {options.max_queue} waiting. The server carries "
          f"{median(map(requests_per_second, carried)):.2f} requests/s.")
    table("load", *MIXED_COLUMNS)
    row(f"{enough_clients(options)} clients", *mixed_row("Sluice", carried))
    row(f"{options.times:g} times what it carries", *mixed_row("Sluice", over))
    shares = [b["tokens_per_second"] / a["tokens_per_second"] for a, b in zip(carried, over)]
    waits = [point["ttft_seconds"]["p99"] for point in over]
    print(f"\nThroughput under {options.times:g} times the load: {median(shares):.0%} of the "
          f"capacity ({', '.join(f'{share:.0%}' for share in shares)}); p99 TTFT of those admitted "
          f"{', '.join(cell(wait, 2) for wait in waits)} s.")


# --- a long queue ----------------------------------------------------------------------------

def queue_body(model, number, words):
    prompt = f"Story {number}: " + "house water story road light " * (words // 5)
    return json.dumps({"model": model, "stream": True, "messages": [
        {"role": "user", "content": prompt}], "options": {"num_predict": 2000}}).encode()


def hold_connection(port):
    return socket.create_connection(("127.0.0.1", port), timeout=60)


def hold_request(connection, body):
    """A request waits on the connection and nothing is read."""
    connection.sendall(b"POST /api/chat HTTP/1.1\r\nHost: 127.0.0.1\r\n"
                       b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
                       % (len(body), body))


def wait_for(condition, seconds, what):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise SystemExit(f"Error: {what} did not happen within {seconds} s")
        time.sleep(0.2)


def queue_mode(options):
    introduce(options, f"bench/serving.py queue --requests {options.requests}")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = options.requests + 500
    if hard != resource.RLIM_INFINITY and hard < wanted:
        raise SystemExit(f"Error: {wanted} open files are needed, {hard} allowed (ulimit -Hn)")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    limit = str(options.requests + 200)
    model = options.models[0]
    table("words a prompt", "waiting", "memory before, MB", "idle connections", "requests",
          "in all", "memory after")
    for words in options.words:
        # A small cache that is full before the queue grows: its pages are resident once touched.
        with Sluice([model], ["-c", "1024", "--parallel", "2", "--max-queue", limit,
                              "--max-connections", limit] + options.sluice_flag, options) as sluice:
            print_queue(sluice, model_name(model), words, options)


def print_queue(sluice, model, words, options):
    def waiting():
        return sluice.status()["num_waiting"]

    def has_touched_cache():
        engine = sluice.status()["models"][0]["engine"]
        touched = engine["num_blocks_used"] + engine["num_blocks_cached"]
        return waiting() > 0 and touched > 0.95 * engine["num_blocks_total"]

    ask_once(sluice, model, "Be brief.", "Hello?")
    num_first = 100  # fill every running place and the cache, so that the rest only waits
    held = [hold_connection(sluice.port) for _ in range(num_first)]
    for number, connection in enumerate(held):
        hold_request(connection, queue_body(model, number, words))
    wait_for(has_touched_cache, 60, "a full cache")
    before = sluice.settled_memory()
    say(f"{options.requests} requests of {words} words")
    target = waiting() + options.requests
    idle = [hold_connection(sluice.port) for _ in range(options.requests)]
    held += idle
    connected = sluice.settled_memory()
    for number, connection in enumerate(idle):
        hold_request(connection, queue_body(model, num_first + number, words))
    wait_for(lambda: waiting() > target - 200, 120, "the long queue")
    during, num_waiting = sluice.settled_memory(), waiting()
    for connection in held:
        connection.close()
    wait_for(lambda: waiting() == 0, 60, "the end of the queue")
    after = sluice.memory()
    connections, requests = connected - before, during - connected
    row(words, num_waiting, *(f"{size / 1e6:.1f}" for size in
                              (before, connections, requests, connections + requests, after)))


# --- flags -----------------------------------------------------------------------------------

def numbers(kind):
    return lambda text: [kind(part) for part in text.split(",")]


def add_shared_flags(parser, seconds, rounds):
    parser.add_argument("models", nargs="+", metavar="MODEL.gguf")
    parser.add_argument("--seconds", type=float, default=seconds)
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--temperature", type=float, default=0.8)
    parser.add_argument("--peers", type=lambda text: [p for p in text.split(",") if p],
                        default=["llama"],
                        help="llama, llama-defaults, openvino; '' for none (default llama)")
    parser.add_argument("--sluice-flag", action="append", default=[],
                        help="passed to `sluice serve`, as --sluice-flag=--threads=2")
    parser.add_argument("--llama-flag", action="append", default=[])
    parser.add_argument("--shield", choices=["nice", "fifo"],
                        help="shield all programs alike against other work on the machine: nice "
                             "-19, or real time (best for throughput on a crowded machine)")


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)

    command = commands.add_parser("clients")
    add_shared_flags(command, seconds=20, rounds=3)
    command.add_argument("--clients", type=numbers(int), default=[1, 2, 4, 8, 16, 32, 64, 256])
    command.set_defaults(action=clients_mode)

    command = commands.add_parser("mixed")
    add_shared_flags(command, seconds=60, rounds=1)
    command.add_argument("--rates", type=numbers(float), default=[0.25, 0.5, 1])
    command.add_argument("--mix", choices=["sharegpt", "alpaca"], default="sharegpt")
    command.add_argument("--slots", type=int, default=32, help="--parallel of both servers")
    command.set_defaults(action=mixed_mode)

    command = commands.add_parser("prefix")
    add_shared_flags(command, seconds=0, rounds=5)
    command.add_argument("--tokens", type=int, default=1000)
    command.set_defaults(action=prefix_mode)

    command = commands.add_parser("beside")
    add_shared_flags(command, seconds=15, rounds=1)
    command.add_argument("--clients", type=numbers(int), default=[1, 4, 16])
    command.add_argument("--tokens", type=int, default=1500)
    command.set_defaults(action=beside_mode)

    command = commands.add_parser("overload")
    add_shared_flags(command, seconds=40, rounds=3)
    command.add_argument("--mix", choices=["sharegpt", "alpaca"], default="alpaca")
    command.add_argument("--times", type=float, default=2)
    command.add_argument("--max-queue", type=int, default=32)
    command.add_argument("--slots", type=int, default=64)
    command.set_defaults(action=overload_mode)

    command = commands.add_parser("queue")
    add_shared_flags(command, seconds=0, rounds=1)
    command.add_argument("--requests", type=int, default=10_000)
    command.add_argument("--words", type=numbers(int), default=[10, 100])
    command.set_defaults(action=queue_mode)

    options = parser.parse_args()
    os.makedirs(FOLDER, exist_ok=True)
    options.action(options)


if __name__ == "__main__":
    main()
