"""Who watches: request ids in every dialect, explain, the access log, Prometheus' metrics."""

import http.client
import json
import shutil
import subprocess
import threading

import anthropic
import openai
import pytest

from conftest import MODEL, Server, run_sluice

QUESTION = [{"role": "user", "content": "Name three colours."}]


def ask(server, path, body=None, headers=None):
    """Status, headers and text."""
    connection = http.client.HTTPConnection(server.host, server.port, timeout=60)
    connection.request("POST" if body else "GET", path, json.dumps(body) if body else None,
                       headers or {})
    reply = connection.getresponse()
    return reply.status, reply.headers, reply.read().decode()


def run_explain(server, home, *arguments):
    return run_sluice("explain", *arguments, home=home, check=False,
                      environment={"SLUICE_HOST": server.url})


@pytest.mark.parametrize("path, body", [
    ("/api/chat", {"messages": QUESTION, "options": {"num_predict": 3}}),
    ("/api/generate", {"prompt": "hi", "options": {"num_predict": 3}}),
    ("/api/embed", {"input": "hi"}),
    ("/v1/chat/completions", {"messages": QUESTION, "max_tokens": 3, "stream": True}),
    ("/v1/completions", {"prompt": "hi", "max_tokens": 3}),
    ("/v1/embeddings", {"input": "hi"}),
    ("/v1/messages", {"messages": QUESTION, "max_tokens": 3}),
])
def test_every_dialect_returns_the_requests_id(server, path, body):
    mine = f"test{path.replace('/', '-')}"
    status, headers, _ = ask(server, path, {"model": MODEL, **body}, {"X-Request-Id": mine})
    assert status == 200
    assert headers["X-Request-Id"] == mine
    life = server.get(f"/api/sluice/requests/{mine}")
    assert life["route"] == path and life["status"] == 200 and life["prompt_tokens"] > 0
    _, headers, _ = ask(server, path, {"model": MODEL, **body}, {"X-Request-Id": "no spaces"})
    assert headers["X-Request-Id"].startswith("req_")
    _, headers, _ = ask(server, path, {"model": "missing"})
    assert headers["X-Request-Id"].startswith("req_"), "errors have one, too"


def test_official_clients_find_the_id(server):
    reply = openai.OpenAI(base_url=server.url + "/v1", api_key="x").chat.completions.create(
        model=MODEL, messages=QUESTION, max_tokens=3)
    assert server.get(f"/api/sluice/requests/{reply._request_id}")["route"] \
        == "/v1/chat/completions"
    message = anthropic.Anthropic(base_url=server.url, api_key="x").messages.create(
        model=MODEL, messages=QUESTION, max_tokens=3)
    assert server.get(f"/api/sluice/requests/{message._request_id}")["route"] == "/v1/messages"


def test_explain_tells_the_life_of_a_request(server, home):
    ask(server, "/api/chat", {"model": MODEL, "messages": QUESTION, "stream": False,
                              "options": {"num_predict": 5, "temperature": 0}},
        {"X-Request-Id": "explained"})
    text = run_explain(server, home, "explained").stdout
    assert "The first token came" in text and "tokens/s" in text
    assert "explained" in run_explain(server, home).stdout
    steps = run_explain(server, home, "explained", "--steps").stdout
    assert "prefill" in steps and "decode" in steps
    life = json.loads(run_explain(server, home, "explained", "--json").stdout)
    assert life["output_tokens"] <= 5
    unknown = run_explain(server, home, "never-seen")
    assert unknown.returncode == 1 and "never-seen" in unknown.stderr


def test_the_access_log_has_a_line_for_each_request(home, tmp_path):
    path = tmp_path / "access.log"
    server = Server(home, "--access-log", str(path))
    try:
        secret = "the secret of the seven hills"
        ask(server, "/api/generate", {"model": MODEL, "prompt": secret, "stream": False,
                                      "options": {"num_predict": 3}})
        ask(server, "/api/tags?secret=query")
        ask(server, "/nowhere")
        ask(server, "/api/tags", headers={"Host": "evil.example"})
    finally:
        assert server.stop() == 0
    text = path.read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    assert [(line["path"], line["status"]) for line in lines] \
        == [("/api/generate", 200), ("/api/tags", 200), ("/nowhere", 404), ("/api/tags", 403)]
    assert lines[0]["model"] == MODEL and lines[0]["output_tokens"] <= 3
    assert "secret" not in text
    log = "".join(server.log)
    assert f"id={lines[0]['id']} " in log and "secret" not in log
    assert lines[1]["id"] not in log, "reads that succeed are for --log-level debug"


def test_metrics_are_clean_to_promtool(server):
    if not shutil.which("promtool"):
        pytest.skip("promtool is not installed (Debian package prometheus)")
    ask(server, "/api/chat", {"model": MODEL, "messages": QUESTION, "stream": False,
                              "options": {"num_predict": 3}})
    status, headers, text = ask(server, "/metrics")
    assert status == 200 and headers["Content-Type"].startswith("text/plain; version=0.0.4")
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True,
                          text=True, check=False)
    assert done.returncode == 0 and done.stdout + done.stderr == ""


def test_metrics_count_what_clients_got(home):
    server = Server(home, "--metrics-compat", "vllm")
    try:
        threads = [threading.Thread(target=ask, args=(server, "/api/generate", {
            "model": MODEL, "prompt": f"{i} apples", "stream": False,
            "options": {"num_predict": 5, "temperature": 0}, "ignore_eos": True}))
            for i in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        server.wait_until_idle(20)  # the figures are those from before the latest step
        values = dict(line.rsplit(" ", 1) for line in ask(server, "/metrics")[2].splitlines()
                      if not line.startswith("#"))
    finally:
        assert server.stop() == 0
    ours = f'{{model_name="{MODEL}"}}'
    theirs = f'{{engine="0",model_name="{MODEL}"}}'
    assert values["sluice_generation_tokens_total" + ours] == "30"
    assert values["sluice_request_generation_tokens_count" + ours] == "6"
    assert values["sluice_time_to_first_token_seconds_count" + ours] == "6"
    assert values["sluice_inter_token_latency_seconds_count" + ours] == "24"
    assert values["sluice_requests_running" + ours] == "0"
    assert values["vllm:generation_tokens_total" + theirs] == "30"
    assert values["vllm:e2e_request_latency_seconds_count" + theirs] == "6"
    assert values['sluice_http_requests_total{method="POST",route="/api/generate",code="200"}'] \
        == "6"


def test_a_request_is_cancelled_by_its_id(server):
    def cancel(request_id):
        connection = http.client.HTTPConnection(server.host, server.port, timeout=30)
        connection.request("DELETE", "/api/sluice/requests/" + request_id)
        reply = connection.getresponse()
        return reply.status, json.loads(reply.read())

    def begin():
        connection = http.client.HTTPConnection(server.host, server.port, timeout=60)
        connection.request("POST", "/api/generate", json.dumps(
            {"model": MODEL, "prompt": "Count.", "raw": True, "ignore_eos": True,
             "options": {"num_predict": 1_000_000}}), {"X-Request-Id": "to-be-cancelled"})
        reply = connection.getresponse()
        reply.readline()
        reply.readline()
        return connection, reply

    assert cancel("nobody")[0] == 404
    _, reply = begin()

    def is_seen(status):
        return any(one["request_id"] == "to-be-cancelled" and one["client"] == "127.0.0.1" and
                   one["time_to_first_token_ns"] > 0 and one["mean_token_time_ns"] > 0
                   for model in status["models"] if "engine" in model
                   for one in model["engine"]["requests"])

    server.wait_for(is_seen, 10)  # it is told some times a second
    twin, its_reply = begin()
    assert cancel("to-be-cancelled")[0] == 409  # which of the two?
    its_reply.close()
    twin.close()
    server.wait_for(lambda status: status["num_running"] == 1, 20)
    assert cancel("to-be-cancelled") == (200, {"id": "to-be-cancelled", "cancelled": True})
    end = json.loads(reply.read().splitlines()[-1])
    assert end["done"] and end["done_reason"] == "cancelled"
    assert cancel("to-be-cancelled")[0] == 404
