"""What the dialects promise on the wire and no official client checks."""

import json
import socket
import time

import openai
import pytest

from conftest import MODEL, Server, make_tiny_model, run_sluice
from test_bad_requests import post, status_of

QUESTION = [{"role": "user", "content": "Name three colours in Japanese: 赤,"}]


@pytest.fixture
def client(server):
    return openai.OpenAI(base_url=server.url + "/v1", api_key="any", max_retries=0, timeout=120)


def exchange(server, data):
    """All that comes back until the server closes, however slow it is."""
    with socket.create_connection((server.host, server.port), timeout=120) as connection:
        connection.sendall(data)
        received = b""
        while piece := connection.recv(65536):
            received += piece
        return received


def test_bytes_of_all_tokens_are_the_reply(server, client):
    """At a temperature that makes parts of characters."""
    wild = {"seed": 3, "temperature": 3}
    status, native = server.post("/api/chat", {
        "model": MODEL, "messages": QUESTION, "stream": False, "logprobs": True,
        "options": {"num_predict": 60, "top_k": 0, "top_p": 1, **wild}})
    assert status == 200
    joined = b"".join(bytes(item["bytes"]) for item in native["logprobs"])
    assert joined.decode(errors="replace").strip("\ufffd") in native["message"]["content"] + "\ufffd"
    reply = client.chat.completions.create(
        model=MODEL, messages=QUESTION, max_tokens=60, logprobs=True, top_logprobs=2, **wild)
    content = reply.choices[0].logprobs.content
    assert len(content) == reply.usage.completion_tokens - (reply.choices[0].finish_reason == "stop")
    joined = b"".join(bytes(item.bytes) for item in content)
    assert joined.decode(errors="replace").rstrip("\ufffd") == \
        reply.choices[0].message.content.rstrip("\ufffd")


@pytest.mark.parametrize("stream", [False, True])
def test_no_tokens_at_all(server, stream):
    for path, prompt in [("/v1/chat/completions", {"messages": QUESTION}),
                         ("/v1/completions", {"prompt": "Once"})]:
        body = json.dumps({"model": MODEL, "max_tokens": 0, "stream": stream,
                           "stream_options": {"include_usage": True}, **prompt}).encode()
        reply = exchange(server, post(path, body, "Connection: close"))
        assert status_of(reply) == 200
        assert b'"finish_reason":"length"' in reply
        assert b'"completion_tokens":0' in reply
        assert b'"content":"' not in reply.replace(b'"content":""', b"")
        assert b'"text":"' not in reply.replace(b'"text":""', b"")


def test_models_with_slashes_in_their_names(home):
    """In a server of its own, as other tests count the models."""
    folder = home / "slashes"
    folder.mkdir()
    source = folder / "tiny.gguf"
    make_tiny_model(source)
    run_sluice("import", str(source), "someone/model:x", home=folder)
    server = Server(folder)
    try:
        client = openai.OpenAI(base_url=server.url + "/v1", api_key="any", max_retries=0)
        assert [model.id for model in client.models.list()] == ["someone/model:x"]
        for name in ("someone/model:x", "registry.ollama.ai/someone/model:x"):
            assert client.models.retrieve(name).id == name
        with pytest.raises(openai.NotFoundError):
            client.models.retrieve("someone/else")
    finally:
        assert server.stop() == 0


def test_completions_take_four_forms_of_prompts(server, client):
    def ask(prompt, **options):
        return client.completions.create(model=MODEL, prompt=prompt, max_tokens=5, temperature=0,
                                         **options)

    one, other = ask("Once upon").choices[0].text, ask("The sea").choices[0].text
    both = ask(["Once upon", "The sea"])
    assert [choice.index for choice in both.choices] == [0, 1]
    assert [choice.text for choice in both.choices] == [one, other]
    assert both.usage.completion_tokens == 10
    # Ids are taken as they are: what the model's template makes of a text is known as `context`.
    status, raw = server.post("/api/generate", {
        "model": MODEL, "prompt": "Once upon", "stream": False,
        "options": {"num_predict": 5, "temperature": 0}})
    assert status == 200
    ids = raw["context"][:raw["prompt_eval_count"]]
    assert ask(ids).choices[0].text == one
    assert [choice.text for choice in ask([ids, ids]).choices] == [one, one]
    texts = {0: "", 1: ""}
    ends = []
    for chunk in ask(["Once upon", "The sea"], stream=True):
        texts[chunk.choices[0].index] += chunk.choices[0].text
        ends += [chunk.choices[0].index] * (chunk.choices[0].finish_reason is not None)
    assert texts == {0: one, 1: other} and sorted(ends) == [0, 1]
    assert ask("").object == "text_completion"
    for wrong in ([[]], [-1], [10**9], [["a"]], [1, "a"], {"a": 1}):
        status, reply = server.post("/v1/completions", {"model": MODEL, "prompt": wrong})
        assert status == 400 and reply["error"]["message"], wrong


def test_completions_have_their_logprobs(client):
    reply = client.completions.create(model=MODEL, prompt="Once", max_tokens=4, temperature=0,
                                      logprobs=3)
    logprobs = reply.choices[0].logprobs
    assert "".join(logprobs.tokens) == reply.choices[0].text
    assert len(logprobs.token_logprobs) == len(logprobs.tokens) == len(logprobs.text_offset)
    assert all(len(top) == 3 for top in logprobs.top_logprobs)
    assert all(top[token] == value for token, value, top in zip(
        logprobs.tokens, logprobs.token_logprobs, logprobs.top_logprobs))
    assert logprobs.text_offset[:2] == [0, len(logprobs.tokens[0])]


def test_embeddings_take_token_ids(client, server):
    ids = server.post("/api/generate", {
        "model": MODEL, "prompt": "Once upon a time", "stream": False, "_debug_render_only": False,
        "options": {"num_predict": 1}})[1]["context"]
    one = client.embeddings.create(model=MODEL, input=ids)
    two = client.embeddings.create(model=MODEL, input=[ids, ids[:3]])
    assert len(one.data) == 1 and len(two.data) == 2
    assert one.usage.prompt_tokens == len(ids)
    assert two.usage.prompt_tokens == len(ids) + 3
    difference = max(abs(a - b) for a, b in zip(one.data[0].embedding, two.data[0].embedding))
    assert difference < 1e-3
    for wrong in ([10**9], [[-1]], [[]], [1, "a"]):
        status, reply = server.post("/v1/embeddings", {"model": MODEL, "input": wrong})
        assert status == 400 and reply["error"]["message"], wrong


def test_times_are_told(server):
    server.post("/api/generate", {"model": MODEL, "keep_alive": 0})
    loaded = server.post("/api/generate", {"model": MODEL})[1]
    assert loaded["done_reason"] == "load" and loaded["load_duration"] > 0
    one = server.post("/api/generate", {"model": MODEL, "prompt": "x", "stream": False,
                                        "options": {"num_predict": 1}})[1]
    assert one["eval_count"] == 1 and one["eval_duration"] >= 1


def test_rendering_honours_the_context(server):
    first = server.post("/api/generate", {
        "model": MODEL, "prompt": "Once", "stream": False, "options": {"num_predict": 2}})[1]
    shown = server.post("/api/generate", {
        "model": MODEL, "prompt": "And then?", "context": first["context"],
        "_debug_render_only": True})[1]["_debug_info"]["rendered_template"]
    assert "Once" in shown and shown.index("Once") < shown.index("And then?")
    assert first["response"].strip("\ufffd") in shown


def test_ids_are_random(client):
    ids = [client.chat.completions.create(model=MODEL, messages=QUESTION, max_tokens=1).id
           for _ in range(3)]
    assert len(set(ids)) == 3
    assert all(i.startswith("chatcmpl-") and len(i) == 33 for i in ids), ids


@pytest.mark.parametrize("path", ["/api/chat", "/v1/chat/completions", "/v1/messages"])
def test_proxies_are_told_not_to_collect_a_stream(server, path):
    body = {"model": MODEL, "messages": QUESTION, "max_tokens": 2, "stream": True,
            "options": {"num_predict": 2}}
    reply = exchange(server, post(path, json.dumps(body).encode(), "Connection: close"))
    head = reply.split(b"\r\n\r\n", 1)[0].lower()
    assert status_of(reply) == 200 and b"x-accel-buffering: no" in head


def test_old_clients_get_pieces_as_they_come(server):
    server.post("/api/generate", {"model": MODEL})
    body = json.dumps({"model": MODEL, "prompt": "Tell a long story.", "ignore_eos": True,
                       "options": {"num_predict": 300}}).encode()
    head = f"POST /api/generate HTTP/1.0\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    times = []
    with socket.create_connection((server.host, server.port), timeout=60) as connection:
        connection.sendall(head + body)
        received = b""
        while piece := connection.recv(65536):
            times.append(time.monotonic())
            received += piece
    head, text = received.split(b"\r\n\r\n", 1)
    assert b"transfer-encoding" not in head.lower()
    assert json.loads(text.splitlines()[-1])["done"]
    assert len(times) > 10, "all came at once"


def test_preflights_allow_what_sdks_send(server):
    reply = exchange(server, b"OPTIONS /v1/messages HTTP/1.1\r\nHost: localhost\r\n"
                             b"Origin: http://localhost:5173\r\n"
                             b"Access-Control-Request-Method: POST\r\nConnection: close\r\n\r\n")
    assert status_of(reply) == 204
    allowed = next(line for line in reply.decode().splitlines()
                   if line.startswith("Access-Control-Allow-Headers:"))
    names = {name.strip().lower() for name in allowed.split(":", 1)[1].split(",")}
    assert names >= {"openai-organization", "openai-project", "x-title", "http-referer",
                     "x-api-key", "anthropic-version", "anthropic-beta"}


def test_health(server):
    for path in ("/health", "/healthz", "/readyz"):
        assert server.get(path) == {"status": "ok"}


def test_ps_tells_the_context_of_requests(server):
    server.post("/api/generate", {"model": MODEL})
    [model] = server.get("/api/ps")["models"]
    assert server.status()["models"][0]["context_length"] == model["context_length"]
    reply = server.post("/api/generate", {
        "model": MODEL, "prompt": "a b " * 8000, "stream": False, "options": {"num_predict": 1}})[1]
    assert reply["sluice"]["dropped_tokens"] > 0
    assert reply["prompt_eval_count"] < model["context_length"]
    assert reply["prompt_eval_count"] > model["context_length"] // 3


@pytest.mark.parametrize("path", ["/api/chat", "/v1/chat/completions", "/v1/messages"])
def test_what_is_not_honoured_is_refused_by_name(server, path):
    good = {"model": MODEL, "messages": QUESTION, "max_tokens": 1, "stream": False}
    if path == "/api/chat":
        good["options"] = {"num_predict": 1}
    own = () if path.startswith("/v1/chat") else (("n", 2), ("logit_bias", {"5": 1}))
    for name, value in (("best_of", 2), ("use_beam_search", True), *own):
        status, reply = server.post(path, {**good, name: value})
        assert status == 400 and f'"{name}"' in json.dumps(reply).replace('\\"', '"'), reply
    assert server.post(path, {**good, "grammar": "", "n": 1, "logit_bias": None})[0] == 200


def crowd(item, count, **fields):
    fields = json.dumps({"model": "missing", "max_tokens": 1, **fields})[:-1]
    return f'{fields},"messages":[{",".join([item] * count)}]}}'.encode()


MANY_NAMES = b'{"model":"missing","max_tokens":1,"messages":[{"role":"user","content":"x"}],"x":{' + \
    b",".join(b'"a name that begins as all of them do %d":1' % i for i in range(200_000)) + b"}}"


@pytest.mark.parametrize("path", ["/api/chat", "/v1/chat/completions", "/v1/messages"])
@pytest.mark.parametrize("body", [
    crowd('{"role":"tool","tool_call_id":"a","content":"x"}', 390_000),
    crowd('{"role":"user","content":""}', 390_000),
    crowd('{"role":"assistant","content":"","tool_calls":[{"id":"a","function":{"name":"f"}}]}',
          150_000),
    MANY_NAMES,
], ids=["tools", "empty", "calls", "names"])
def test_work_is_linear_in_the_body(server, path, body):
    """Some seconds even on a busy machine; squared it would be many minutes."""
    start = time.monotonic()
    status, reply = server.post(path, body)
    assert status in (400, 404), reply
    assert time.monotonic() - start < 30
    assert server.get("/api/version")
