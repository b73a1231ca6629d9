"""The official `ollama` package against the server."""

import concurrent.futures
import re
import time

import ollama
import pytest

from conftest import MODEL, run_sluice

QUESTION = [{"role": "user", "content": "Name three colours."}]
SHORT = {"num_predict": 8, "temperature": 0}


@pytest.fixture
def client(server):
    return ollama.Client(host=server.url, timeout=120)


def test_chat_gives_one_message_with_metrics(client):
    reply = client.chat(MODEL, messages=QUESTION, options=SHORT)
    assert reply.model == MODEL
    assert reply.message.role == "assistant"
    assert reply.message.content
    assert reply.done and reply.done_reason in ("stop", "length")
    assert reply.prompt_eval_count > 5
    assert 1 <= reply.eval_count <= 8
    assert reply.total_duration >= reply.load_duration > 0
    assert reply.prompt_eval_duration > 0 and reply.eval_duration > 0
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z", reply.created_at)


def test_streamed_chat_is_the_same_text_in_pieces(client):
    whole = client.chat(MODEL, messages=QUESTION, options=SHORT)
    parts = list(client.chat(MODEL, messages=QUESTION, options=SHORT, stream=True))
    assert "".join(part.message.content for part in parts) == whole.message.content
    assert [part.done for part in parts] == [False] * (len(parts) - 1) + [True]
    assert parts[-1].eval_count == whole.eval_count
    assert parts[-1].done_reason == whole.done_reason


def test_generate_streams_and_not(client):
    whole = client.generate(MODEL, prompt="Once upon a time", options=SHORT)
    parts = list(client.generate(MODEL, prompt="Once upon a time", options=SHORT, stream=True))
    assert "".join(part.response for part in parts) == whole.response
    assert whole.done and whole.context


def test_context_of_a_reply_goes_on(client):
    first = client.generate(MODEL, prompt="My name is Ada.", options=SHORT)
    second = client.generate(MODEL, prompt="And yours?", context=first.context, options=SHORT)
    assert second.context[:len(first.context)] == first.context
    assert second.prompt_eval_count > first.prompt_eval_count


def test_raw_prompt_is_not_templated(client):
    raw = client.generate(MODEL, prompt="Hello", raw=True, options=SHORT)
    templated = client.generate(MODEL, prompt="Hello", options=SHORT)
    assert raw.prompt_eval_count < templated.prompt_eval_count
    assert raw.context is None


def test_num_predict_ends_with_length(client):
    reply = client.generate(MODEL, prompt="Count:", options={"num_predict": 3, "temperature": 0})
    assert reply.eval_count <= 3
    if reply.eval_count == 3:
        assert reply.done_reason == "length"


def test_greedy_replies_are_stable(client):
    options = {"num_predict": 16, "temperature": 0}
    replies = {client.chat(MODEL, messages=QUESTION, options=options).message.content
               for _ in range(3)}
    assert len(replies) == 1


def test_same_seed_same_reply_other_seed_another(client):
    def reply(seed):
        options = {"num_predict": 24, "temperature": 1.5, "seed": seed}
        return client.generate(MODEL, prompt="A random list:", options=options).response

    assert reply(1) == reply(1)
    assert len({reply(seed) for seed in range(1, 6)}) > 1


def test_stop_string_ends_the_reply_and_is_not_in_it(client):
    options = {"num_predict": 24, "temperature": 0}
    whole = client.generate(MODEL, prompt="Tell me a story.", options=options).response
    # Two characters if there are two whole ones side by side, else one.
    found = re.search(r"(?<=.)[ -~]{1,2}", whole, re.DOTALL)
    assert found, f"nothing to stop at in {whole!r}"
    middle = found.group()
    reply = client.generate(MODEL, prompt="Tell me a story.", options={**options, "stop": [middle]})
    assert reply.response == whole[:whole.index(middle)]
    assert reply.done_reason == "stop"


def test_system_message_counts_as_prompt(client):
    without = client.generate(MODEL, prompt="Hi", options=SHORT)
    long_system = "You are a pirate and say arr. " * 5
    with_it = client.generate(MODEL, prompt="Hi", system=long_system, options=SHORT)
    assert with_it.prompt_eval_count > without.prompt_eval_count


def test_long_conversation_loses_whole_old_messages(client, server):
    messages = [{"role": "system", "content": "Be brief."}]
    for i in range(20):
        messages.append({"role": "user", "content": f"Message number {i}: " + "word " * 10})
        messages.append({"role": "assistant", "content": "Noted."})
    messages.append({"role": "user", "content": "The last one."})
    options = {"num_ctx": 128, "num_predict": 4, "temperature": 0}
    status, reply = server.post("/api/chat", {
        "model": MODEL, "messages": messages, "options": options, "stream": False})
    assert status == 200
    assert reply["prompt_eval_count"] < 128
    assert reply["sluice"]["dropped_tokens"] > 0
    status, reply = server.post("/api/chat", {
        "model": MODEL, "messages": messages, "options": options, "truncate": False})
    assert status == 400 and "128" in reply["error"]


def test_prompt_longer_than_the_context_is_refused_if_it_must_not_be_cut(server):
    status, reply = server.post("/api/generate", {
        "model": MODEL, "prompt": "word " * 500, "truncate": False, "options": {"num_ctx": 64}})
    assert status == 400
    assert "too long" in reply["error"] and "64" in reply["error"]


def test_logprobs(server):
    status, reply = server.post("/api/generate", {
        "model": MODEL, "prompt": "Hello", "stream": False, "logprobs": True, "top_logprobs": 2,
        "options": {"num_predict": 3, "temperature": 0}})
    assert status == 200
    assert len(reply["logprobs"]) >= 1
    first = reply["logprobs"][0]
    assert first["logprob"] <= 0 and len(first["top_logprobs"]) == 2
    assert first["top_logprobs"][0]["logprob"] >= first["top_logprobs"][1]["logprob"]


def test_eight_at_once_all_answer_correctly(client):
    options = {"num_predict": 12, "temperature": 0}
    prompts = [f"Write the number {i}." for i in range(8)]
    alone = [client.generate(MODEL, prompt=prompt, options=options) for prompt in prompts]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        together = list(pool.map(
            lambda prompt: client.generate(MODEL, prompt=prompt, options=options), prompts))
    for one, crowd in zip(alone, together):
        assert crowd.done and crowd.prompt_eval_count == one.prompt_eval_count
        assert crowd.eval_count >= 1


def test_list_show_and_ps(client):
    listed = client.list().models
    assert [model.model for model in listed] == [MODEL]
    assert re.fullmatch("[0-9a-f]{64}", listed[0].digest)
    assert listed[0].size > 1000 and listed[0].details.format == "gguf"
    shown = client.show(MODEL)
    assert shown.modelinfo["general.architecture"] == "llama"
    assert shown.modelinfo["llama.context_length"] > 0
    assert shown.modelinfo["tokenizer.ggml.tokens"] is None
    assert "completion" in shown.capabilities
    assert shown.template
    client.generate(MODEL, prompt="Hi", options=SHORT)
    running = client.ps().models
    assert [model.model for model in running] == [MODEL]
    assert running[0].size > 1000 and running[0].size_vram == 0
    assert running[0].context_length > 0
    assert running[0].digest == listed[0].digest


def test_empty_prompt_loads_and_keep_alive_0_unloads(client, server):
    loaded = client.generate(MODEL)
    assert loaded.done and loaded.done_reason == "load" and loaded.response == ""
    assert client.ps().models
    unloaded = client.generate(MODEL, keep_alive=0)
    assert unloaded.done_reason == "unload"
    for _ in range(100):
        if not client.ps().models:
            break
        time.sleep(0.05)
    assert not client.ps().models
    assert client.chat(MODEL, messages=[]).done_reason == "load"


def test_names_without_case_and_with_default_tag(client, home):
    assert client.chat(MODEL.upper(), messages=QUESTION, options=SHORT).model == MODEL.upper()


@pytest.mark.parametrize("call", [
    lambda client: client.chat("missing:1b", messages=QUESTION),
    lambda client: client.generate("missing:1b", prompt="x"),
    lambda client: client.show("missing:1b"),
    lambda client: client.delete("missing:1b"),
])
def test_missing_model_is_404_by_name(client, call):
    with pytest.raises(ollama.ResponseError) as caught:
        call(client)
    assert caught.value.status_code == 404
    assert "missing:1b" in caught.value.error and "not found" in caught.value.error


@pytest.mark.parametrize("body, text", [
    (b"", "missing request body"),
    ({"messages": []}, "model is required"),
    ({"model": MODEL, "messages": "hi"}, "messages"),
    ({"model": MODEL, "messages": [{"role": "user", "content": 5}]}, "content"),
    ({"model": "../../etc/passwd", "messages": QUESTION}, ""),
    ({"model": MODEL, "messages": QUESTION, "top_logprobs": 21}, "top_logprobs"),
    ({"model": MODEL, "messages": QUESTION, "keep_alive": "5"}, ""),
    ({"model": MODEL, "messages": QUESTION, "tools": [{"type": "function", "function": {
        "name": "f", "description": "d", "parameters": {"type": "object", "properties": {}}}}]},
     "does not support tools"),
    ({"model": MODEL, "messages": QUESTION, "think": True}, "does not support thinking"),
])
def test_wrong_requests_are_400_with_a_reason(server, body, text):
    status, reply = server.post("/api/chat", body)
    assert status == 400, reply
    assert text in reply["error"]


def test_options_of_a_wrong_type_are_named(server):
    for option in ({"temperature": "hot"}, {"stop": 5}, {"num_predict": "many"}, {"top_k": []}):
        status, reply = server.post("/api/generate", {
            "model": MODEL, "prompt": "x", "options": option})
        assert status in (400, 500) and next(iter(option)) in reply["error"], reply


def test_unknown_and_old_options_are_ignored(client):
    options = {**SHORT, "mirostat": 1, "num_gqa": 8, "low_vram": True, "nonsense": [1]}
    assert client.generate(MODEL, prompt="x", options=options).done


def test_version_and_liveness(server):
    assert re.fullmatch(r"\d+\.\d+\.\d+", server.get("/api/version")["version"])


def test_delete_removes_the_name_only(client, home):
    weights = max((home / "models/blobs").iterdir(), key=lambda path: path.stat().st_size)
    run_sluice("import", str(weights), "copy:1", home=home)
    assert {model.model for model in client.list().models} == {MODEL, "copy:1"}
    client.delete("copy:1")
    assert [model.model for model in client.list().models] == [MODEL]
    assert client.generate(MODEL, prompt="x", options=SHORT).done
