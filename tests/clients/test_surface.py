"""What Ollama's clients rely on, line by line, where no test about one thing has it."""

import base64
import json
import re
import socket
import subprocess
import urllib.error
import urllib.request

import pytest

from conftest import MODEL, Server, make_tiny_model, run_sluice

SHORT = {"num_predict": 4}
HELLO = [{"role": "user", "content": "Say hi"}]


def ask(server, method, path, body=None, headers=None):
    """Status, headers, body."""
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(server.url + path, data, headers or {}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=120) as reply:
            return reply.status, reply.headers, reply.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


def generate(server, **fields):
    return server.post("/api/generate", {"model": MODEL, "stream": False, "options": SHORT,
                                         **fields})


def events(text):
    """Pairs of type and data of an event stream."""
    found = []
    for block in filter(None, text.decode().split("\n\n")):
        lines = dict(line.split(": ", 1) for line in block.split("\n"))
        data = lines["data"]
        found.append((lines.get("event"), data if data == "[DONE]" else json.loads(data)))
    return found


def test_heartbeats(server):
    for method in ("GET", "HEAD"):
        for path in ("/", "/api/version", "/api/tags"):
            assert ask(server, method, path)[0] == 200
    assert ask(server, "GET", "/")[2] == b"Ollama is running"
    version = server.get("/api/version")["version"]  # editors ask for 0.17.6 at least
    assert re.fullmatch(r"\d+\.\d+\.\d+", version)
    assert tuple(map(int, version.split("."))) >= (0, 17, 6)


def test_keys_of_any_case_and_any_content_type(server):
    status, headers, body = ask(
        server, "POST", "/api/generate",
        {"MODEL": MODEL, "Prompt": "hi", "Stream": False, "OPTIONS": {"num_predict": 3}, "new": 1},
        {"Content-Type": "application/x-www-form-urlencoded"})
    assert status == 200 and json.loads(body)["eval_count"] == 3
    assert headers["Content-Type"] == "application/json; charset=utf-8"


@pytest.mark.parametrize("path, body, status, text", [
    ("/api/generate", b"", 400, "missing request body"),
    ("/api/generate", {}, 404, "model '' not found"),
    ("/api/embed", {"model": ""}, 404, "model '' not found"),
    ("/api/chat", {}, 400, "model is required"),
    ("/api/embeddings", {}, 400, "model is required"),
    ("/api/show", {}, 400, "model is required"),
    ("/api/push", {}, 400, "model is required"),
    ("/api/pull", {}, 400, "invalid model name"),
    ("/api/create", {}, 400, "invalid model name"),
    ("/api/chat", {"model": "a/b/c/d/e"}, 400, "invalid model name"),
    ("/api/show", {"model": "x" * 81}, 400, "invalid model name"),
    ("/api/show", {"model": "Nope"}, 404, "model 'Nope:latest' not found"),
    ("/api/chat", {"model": "Nope"}, 404, "model 'Nope' not found"),
    ("/api/embed", {"model": "Nope", "input": "x"}, 404,
     'model "Nope" not found, try pulling it first'),
    ("/api/copy", {"source": "Nope", "destination": "x"}, 404, 'model "Nope" not found'),
    ("/api/copy", {"source": "a b", "destination": "x"}, 400, 'source "a b" is invalid'),
    ("/api/copy", {"source": MODEL, "destination": "a b"}, 400, 'destination "a b" is invalid'),
    ("/api/generate", {"model": MODEL, "think": True}, 400, f'"{MODEL}" does not support thinking'),
    ("/api/chat", {"model": MODEL, "messages": HELLO, "tools": [
        {"type": "function", "function": {"name": "f"}}]}, 400,
     f"registry.ollama.ai/library/{MODEL} does not support tools"),
    ("/api/generate", {"model": MODEL, "prompt": "x", "suffix": "y"}, 400,
     f"registry.ollama.ai/library/{MODEL} does not support insert"),
    ("/api/generate", {"model": MODEL, "prompt": "x", "raw": True, "system": "y"}, 400,
     "raw mode does not support template, system, or context"),
    ("/api/generate", {"model": MODEL, "prompt": "x", "top_logprobs": 21}, 400,
     "top_logprobs must be between 0 and 20"),
    ("/api/embed", {"model": MODEL, "input": ["a", 1]}, 400, "invalid input type"),
    ("/api/blobs/sha256:zz", b"x", 400, "invalid digest format"),
])
def test_errors_in_ollamas_words(server, path, body, status, text):
    got, _, reply = ask(server, "POST", path, body)
    assert (got, json.loads(reply)) == (status, {"error": text})


def test_unknown_paths_and_methods_are_plain_text(server):
    for method, path, status in (("GET", "/nope", 404), ("GET", "/api/chat", 405),
                                 ("PUT", "/api/tags", 405)):
        got, headers, _ = ask(server, method, path)
        assert got == status and headers["Content-Type"].startswith("text/plain")


def test_names_are_found_however_they_are_spelled(server):
    for name in (MODEL.upper(), f"library/{MODEL}", f"registry.ollama.ai/library/{MODEL}",
                 f"http://registry.ollama.ai/library/{MODEL}"):
        status, reply = generate(server, model=name, prompt="hi")
        assert status == 200 and reply["model"] == name  # as the client wrote it


@pytest.mark.parametrize("origin, status", [
    ("http://localhost:3000", 200), ("https://127.0.0.1", 200), ("http://0.0.0.0:1", 200),
    ("app://x", 200), ("file://", 200), ("tauri://localhost", 200), ("vscode-webview://a", 200),
    ("vscode-file://a", 200), ("chrome-extension://a", 403), ("http://evil.example", 403)])
def test_pages_that_may_ask(server, origin, status):
    assert ask(server, "GET", "/api/tags", headers={"Origin": origin})[0] == status


@pytest.mark.parametrize("host, status", [
    ("localhost", 200), ("10.1.2.3", 200), ("192.168.0.4:80", 200), ("[::1]", 200), ("0.0.0.0", 200),
    ("a.localhost", 200), ("a.local", 200), ("a.internal", 200), (socket.gethostname(), 200),
    ("evil.example", 403), ("8.8.8.8", 403)])
def test_hosts_that_may_be_asked(server, host, status):
    got, _, body = ask(server, "GET", "/api/version", headers={"Host": host})
    assert got == status and (status == 200 or body == b"")


def test_a_stream_of_generate(server):
    _, headers, body = ask(server, "POST", "/api/generate",
                           {"model": MODEL, "prompt": "Say hi", "options": SHORT})
    assert headers["Content-Type"] == "application/x-ndjson"
    *pieces, last = map(json.loads, body.splitlines())
    assert all(list(piece) == ["model", "created_at", "response", "done"] for piece in pieces)
    assert not any(piece["done"] for piece in pieces)
    assert set(last) - {"sluice"} == {
        "model", "created_at", "response", "done", "done_reason", "context", "total_duration",
        "load_duration", "prompt_eval_count", "prompt_eval_duration", "eval_count", "eval_duration"}
    assert last["response"] == "" and last["done_reason"] == "length" and last["load_duration"] > 0
    for line in (*pieces, last):
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{0,8}[1-9])?Z", line["created_at"])


def test_nothing_to_say_loads_and_unloads(server):
    for path, key, empty in (("/api/generate", "response", ""),
                             ("/api/chat", "message", {"role": "assistant", "content": ""})):
        for keep_alive, reason in (("5m", "load"), (0, "unload")):
            status, headers, body = ask(server, "POST", path,
                                        {"model": MODEL, "keep_alive": keep_alive})
            reply = json.loads(body)
            assert status == 200 and headers["Content-Type"].startswith("application/json")
            assert reply[key] == empty and reply["done"] and reply["done_reason"] == reason
            assert "total_duration" not in reply and "eval_count" not in reply


@pytest.mark.parametrize("value, status", [
    (5, 200), (5.5, 200), ("5m", 200), ("24h", 200), ("-1m", 200), ("0", 200), (-1, 200), (None, 200),
    ("5", 400), ("x", 400), (True, 400)])
def test_keep_alive(server, value, status):
    got, reply = server.post("/api/generate", {"model": MODEL, "keep_alive": value})
    assert got == status, reply
    server.post("/api/generate", {"model": MODEL, "keep_alive": "5m"})


@pytest.mark.parametrize("value", ["xml", 5, [1], True])
def test_formats_that_are_none(server, value):
    status, reply = generate(server, prompt="x", format=value)
    assert status in (400, 500)
    assert 'expected "json" or a valid JSON Schema object' in reply["error"]


def test_options_of_old_clients(server):
    old = {"mirostat": 2, "tfs_z": 1, "penalize_newline": True, "num_gqa": 1, "low_vram": True,
           "f16_kv": True, "vocab_only": False, "use_mlock": False, "numa": False,
           "rope_frequency_base": 1.0}
    status, reply = generate(server, prompt="x", format="", options={
        **old, "num_predict": 2.9, "seed": 2**63 - 1, "top_k": 0, "stop": [], "temperature": None,
        "repeat_last_n": -1})
    assert status == 200 and reply["eval_count"] == 2
    assert generate(server, prompt="x", options=None, keep_alive=None, format=None,
                    images=[])[0] == 200


def test_show(server):
    _, shown = server.post("/api/show", {"name": MODEL})
    info = shown["model_info"]
    assert info[f"{info['general.architecture']}.context_length"] > 0
    assert info["general.parameter_count"] > 0 and info["tokenizer.ggml.tokens"] is None
    assert "general.name" not in info and "tokenizer.chat_template" not in info
    assert set(shown["tensors"][0]) == {"name", "type", "shape"}
    assert shown["capabilities"] == ["completion"]
    _, verbose = server.post("/api/show", {"model": MODEL, "verbose": True})
    assert len(verbose["model_info"]["tokenizer.ggml.tokens"]) > 100
    _, _, body = ask(server, "POST", "/api/show", {"model": MODEL},
                     {"User-Agent": "GitHubCopilotChat/0.31"})
    assert json.loads(body)["model_info"]["general.basename"] == MODEL


def test_the_context_of_a_request_may_be_empty(server):
    assert generate(server, prompt="x", context=[])[0] == 200
    assert "context" not in generate(server, prompt="x", raw=True)[1]
    _, shown = generate(server, prompt="hi", _debug_render_only=True)
    assert "hi" in shown["_debug_info"]["rendered_template"]


# OpenAI's dialect.

@pytest.mark.parametrize("fields", [
    {"user": "x"}, {"n": 1}, {"top_k": 3}, {"keep_alive": "5m"}, {"options": {"num_ctx": 512}},
    {"think": True}, {"stop": ["x"]}, {"tools": []}, {"tool_choice": "auto"}, {"metadata": {}},
    {"store": False}, {"service_tier": "auto"}, {"stream_options": None},
    {"response_format": {"type": "text"}}, {"reasoning_effort": "none"}])
def test_fields_that_chats_may_have(server, fields):
    status, reply = server.post("/v1/chat/completions", {
        "model": MODEL, "messages": HELLO, "max_tokens": 2, **fields})
    assert status == 200, reply


@pytest.mark.parametrize("url", ["http://x/y.png", "https://x/y.png", "file:///etc/passwd",
                                 "ftp://x", "gopher://x", "data:image/gif;base64,aGk=",
                                 "data:image/png;base64,@@", "data:image/png;base64,aGk=",
                                 "data:image/png;base64," + "A" * 2_000_000])
def test_images_are_refused_by_a_model_without_eyes(server, url):
    for image in (url, {"url": url}):
        status, reply = server.post("/v1/chat/completions", {"model": MODEL, "messages": [
            {"role": "user", "content": [{"type": "image_url", "image_url": image}]}]})
        assert status == 400 and reply["error"]["message"]


def test_completions_are_templated(server):
    _, native = generate(server, prompt="Say hi")
    _, reply = server.post("/v1/completions", {"model": MODEL, "prompt": "Say hi", "max_tokens": 4})
    assert reply["usage"]["prompt_tokens"] == native["prompt_eval_count"]


def test_a_packed_body(server):
    """As Codex sends it."""
    body = json.dumps({"model": MODEL, "input": "hi", "max_output_tokens": 3}).encode()
    try:
        packed = subprocess.run(["zstd", "-c"], input=body, capture_output=True, check=True).stdout
    except FileNotFoundError:
        pytest.skip("zstd is not installed")
    assert ask(server, "POST", "/v1/responses", packed, {"Content-Encoding": "zstd"})[0] == 200
    status, _, reply = ask(server, "POST", "/v1/responses", packed[:-3], {"Content-Encoding": "zstd"})
    assert status == 400 and "cut short or damaged" in json.loads(reply)["error"]["message"]
    for name in ("gzip", "br"):
        status, _, reply = ask(server, "POST", "/v1/responses", body, {"Content-Encoding": name})
        assert status == 415 and "zstd" in json.loads(reply)["error"]["message"]


def test_items_of_codex(server):
    status, reply = server.post("/v1/responses", {"model": MODEL, "max_output_tokens": 3, "input": [
        {"role": "user", "content": [{"type": "input_text", "text": "a"}]},
        {"type": "reasoning", "id": "r", "summary": [], "encrypted_content": "?"},
        {"type": "web_search_call", "id": "w", "status": "completed"},
        {"role": "assistant", "content": [{"type": "output_text", "text": "b"}]},
        {"role": "user", "content": "c"}],
        "tools": [{"type": "web_search"}], "reasoning": {"effort": "high"}})
    assert status == 200, reply


# Anthropic's.

def test_events_of_a_message(server):
    _, _, body = ask(server, "POST", "/v1/messages", {
        "model": MODEL, "messages": HELLO, "max_tokens": 4, "stream": True})
    types = [name for name, _ in events(body)]
    assert types[:2] == ["message_start", "content_block_start"]
    assert types[-3:] == ["content_block_stop", "message_delta", "message_stop"]


def test_fields_that_messages_may_have(server):
    status, reply = server.post("/v1/messages", {
        "model": MODEL, "max_tokens": 2, "metadata": {"user_id": "x"}, "top_k": 3,
        "system": [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}],
        "thinking": {"type": "enabled", "budget_tokens": 1024}, "output_config": {"effort": "low"},
        "tools": [{"type": "web_search_20250305", "name": "web_search"}],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "new", "x": 1}]},
            {"role": "assistant", "content": [
                {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}},
                {"type": "web_search_tool_result", "tool_use_id": "s", "content": []},
                {"type": "text", "text": "b"}]},
            {"role": "user", "content": "c"}]})
    assert status == 200, reply


def test_errors_of_messages_bear_their_requests_id(server):
    status, headers, body = ask(server, "POST", "/v1/messages", {"model": MODEL, "messages": HELLO})
    reply = json.loads(body)
    assert status == 400 and reply["type"] == "error"
    assert reply["request_id"] == headers["request-id"] and reply["request_id"].startswith("req_")


# The command line.

def test_run_of_a_model_that_makes_embeddings(tmp_path):
    model = tmp_path / "e.gguf"
    make_tiny_model(model, "--pooling", "mean")
    run_sluice("import", str(model), "embeds", home=tmp_path)
    server = Server(tmp_path)
    try:
        host = {"SLUICE_HOST": server.url}
        whole = json.loads(run_sluice("run", "embeds", "some words", home=tmp_path,
                                      environment=host).stdout)
        assert abs(sum(x * x for x in whole) - 1) < 1e-3
        short = run_sluice("run", "embeds", "--dimensions", "8", "--truncate", text="some words",
                           home=tmp_path, environment=host).stdout
        assert len(json.loads(short)) == 8
        refused = run_sluice("run", "embeds", "--truncate=false", text="word " * 9000, home=tmp_path,
                             environment=host, check=False)
        assert refused.returncode == 1 and "exceeds the context length" in refused.stderr
    finally:
        assert server.stop() == 0
