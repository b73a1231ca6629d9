"""What clients are told about waiting, deadlines and what was dropped."""

import concurrent.futures
import json
import urllib.request

import ollama
import openai
import pytest

from conftest import MODEL, Server

CHAT = {"model": MODEL, "messages": [{"role": "user", "content": "Tell a story."}],
        "options": {"num_predict": 8, "temperature": 0}}


def open_stream(server, path, body, **headers):
    request = urllib.request.Request(
        server.url + path, json.dumps(body).encode(),
        {name.replace("_", "-"): value for name, value in headers.items()})
    return urllib.request.urlopen(request, timeout=120)


def test_every_reply_tells_its_place(server):
    for path, body in (("/api/chat", CHAT), ("/api/chat", {**CHAT, "stream": False}),
                       ("/v1/chat/completions", {**CHAT, "max_tokens": 4, "stream": True}),
                       ("/api/embed", {"model": MODEL, "input": "x"})):
        with open_stream(server, path, body) as reply:
            assert int(reply.headers["X-Queue-Position"]) >= 0
            assert float(reply.headers["X-Estimated-Wait"]) >= 0
            assert reply.headers["X-Dropped-Tokens"] is None
            reply.read()


def test_load_events_come_before_the_text(server):
    server.post("/api/generate", {"model": MODEL, "keep_alive": 0})
    server.wait_for(lambda status: not status["models"], 30)
    with open_stream(server, "/api/chat", CHAT, X_Queue_Events="1") as reply:
        lines = [json.loads(line) for line in reply]
    assert lines[0]["status"] == "loading" and 0 <= lines[0]["progress"] <= 1
    told = [line["progress"] for line in lines if line.get("status") == "loading"]
    assert told == sorted(told)
    text = [line for line in lines if "status" not in line]
    assert text[-1]["done"] and text[-1]["sluice"]["queue_position"] >= 0
    assert lines.index(text[0]) >= len(told)


def test_official_clients_live_with_the_events(server):
    def unload():
        server.post("/api/generate", {"model": MODEL, "keep_alive": 0})
        server.wait_for(lambda status: not status["models"], 30)

    unload()
    client = ollama.Client(host=server.url, headers={"X-Queue-Events": "1"}, timeout=120)
    parts = list(client.chat(MODEL, messages=CHAT["messages"], options=CHAT["options"],
                             stream=True))
    assert parts[-1].done and "".join(part.message.content for part in parts)
    unload()
    other = openai.OpenAI(base_url=server.url + "/v1", api_key="none", timeout=120,
                          default_headers={"X-Queue-Events": "1"})
    chunks = list(other.chat.completions.create(
        model=MODEL, messages=CHAT["messages"], max_tokens=4, stream=True))
    assert chunks[-1].choices[0].finish_reason in ("stop", "length")


@pytest.mark.parametrize("body, headers", [
    ({**CHAT, "timeout": 1e-6}, {}),
    ({**CHAT, "timeout": "1us"}, {}),
    (CHAT, {"X_Request_Timeout": "0.000001"}),
])
def test_time_that_is_over_is_504(server, body, headers):
    with pytest.raises(urllib.error.HTTPError) as caught:
        open_stream(server, "/api/chat", body, **headers)
    assert caught.value.code == 504
    assert "was over: " in json.load(caught.value)["error"]


def test_deadline_in_mid_reply_ends_it_with_what_is_there(server):
    server.post("/api/generate", {"model": MODEL})
    for timeout in (0.1, 0.5, 2, 10, 50):  # more for a busy machine, until the first token comes
        status, reply = server.post("/api/chat", {
            **CHAT, "stream": False, "timeout": timeout,
            "options": {"num_predict": 100_000, "temperature": 1, "num_ctx": 512}})
        if status != 504:
            break
    assert status == 200 and reply["eval_count"] > 0
    if reply["sluice"]["finish_reason"] != "end_of_sequence":  # it may have said all before
        assert reply["done_reason"] == "deadline"


def test_server_wide_timeout(home):
    server = Server(home, "--request-timeout", "1us")
    try:
        assert server.post("/api/generate", {"model": MODEL, "prompt": "x"})[0] == 504
        status, reply = server.post("/api/generate", {
            "model": MODEL, "prompt": "x", "timeout": -1, "stream": False,
            "options": {"num_predict": 2}})
        assert status == 200 and reply["done"]
    finally:
        assert server.stop() == 0


def test_full_queue_is_503_with_retry_after_and_the_rest_is_served(home):
    server = Server(home, "--max-queue", "2")
    try:
        server.post("/api/generate", {"model": MODEL})

        def ask(_):
            try:
                with open_stream(server, "/api/chat", {**CHAT, "stream": False}) as reply:
                    return reply.status, None
            except urllib.error.HTTPError as error:
                seconds = int(error.headers["Retry-After"])
                assert 1 <= seconds <= 600
                text = json.load(error)["error"]
                assert "busy" in text and "2 requests are waiting" in text
                return error.code, text

        with concurrent.futures.ThreadPoolExecutor(100) as pool:
            codes = [code for code, _ in pool.map(ask, range(300))]
        assert set(codes) <= {200, 503} and 200 in codes
        # How many were refused is the machine's business; the counter must agree.
        assert server.status()["models"][0]["engine"]["num_requests_rejected"] == codes.count(503)
        assert server.get("/api/ps")["models"][0]["sluice"]["refused"] == codes.count(503)
    finally:
        assert server.stop() == 0


def test_long_conversation_drops_whole_messages_and_says_so(server):
    story = "Once upon a time there was a town by the sea. " * 10
    messages = [{"role": "system", "content": "Be brief."}]
    for _ in range(6):
        messages += [{"role": "user", "content": story}, {"role": "assistant", "content": story}]
    body = {"model": MODEL, "messages": messages + [{"role": "user", "content": "The end?"}],
            "options": {"num_ctx": 300, "num_predict": 4}}
    with open_stream(server, "/api/chat", {**body, "stream": False}) as reply:
        dropped = int(reply.headers["X-Dropped-Tokens"])
        last = json.load(reply)
    assert dropped > 100 and last["sluice"]["dropped_tokens"] == dropped
    assert last["prompt_eval_count"] < 300
    status, reply = server.post("/api/chat", {**body, "truncate": False})
    assert status == 400 and "300" in reply["error"] and "num_ctx" in reply["error"]


def test_long_prompt_keeps_beginning_and_end(server):
    body = {"model": MODEL, "prompt": "one two three " * 400, "raw": True, "stream": False,
            "options": {"num_ctx": 200, "num_predict": 4, "num_keep": 10}}
    status, reply = server.post("/api/generate", body)
    assert status == 200
    assert reply["prompt_eval_count"] < 200
    assert reply["sluice"]["dropped_tokens"] > 500
    for field in ("truncate", "shift"):
        status, reply = server.post("/api/generate", {**body, field: False})
        assert status == 400 and "200" in reply["error"], field


def test_full_context_shifts_or_ends(server):
    body = {"model": MODEL, "prompt": "Count: one two three", "raw": True, "stream": False,
            "options": {"num_ctx": 64, "num_predict": 150, "temperature": 0}}
    status, ended = server.post("/api/generate", {**body, "shift": False})
    assert status == 200 and ended["eval_count"] < 64
    status, shifted = server.post("/api/generate", body)
    assert status == 200
    if ended["sluice"]["finish_reason"] == "context_full":
        assert ended["done_reason"] == "length"
        assert shifted["eval_count"] > ended["eval_count"]
        assert shifted["sluice"]["shifted_tokens"] > 0


def test_guessing_ahead_changes_nothing_but_the_counts(server):
    text = "The quick brown fox jumps over the lazy dog. " * 6
    body = {"model": MODEL, "prompt": text, "raw": True, "stream": False,
            "options": {"num_predict": 40, "temperature": 0}}
    plain = server.post("/api/generate", {**body, "speculate": False})[1]
    guessed = server.post("/api/generate", {**body, "speculate": True})[1]
    assert guessed["response"] == plain["response"]
    assert plain["sluice"]["draft_tokens"] == 0
    assert 0 <= guessed["sluice"]["accepted_tokens"] <= guessed["sluice"]["draft_tokens"]
