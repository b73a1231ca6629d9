"""The official `anthropic` package against the server."""

import anthropic
import pytest

from conftest import MODEL

QUESTION = [{"role": "user", "content": "Name three colours."}]


@pytest.fixture
def client(server):
    return anthropic.Anthropic(base_url=server.url, api_key="any", max_retries=0, timeout=120)


def wanted(**options):
    """Arguments for the client, which has none for sampling: they go as fields of the body."""
    names = ("temperature", "top_p", "top_k")
    sampling = {name: options.pop(name) for name in names if name in options}
    return {"model": MODEL, "messages": QUESTION, "max_tokens": 8,
            "extra_body": {"temperature": 0, **sampling}, **options}


def ask(client, **options):
    return client.messages.create(**wanted(**options))


def text_of(message):
    return "".join(block.text for block in message.content)


def test_message(client):
    reply = ask(client)
    assert reply.id.startswith("msg_") and len(reply.id) == 28
    assert (reply.type, reply.role, reply.model) == ("message", "assistant", MODEL)
    assert [block.type for block in reply.content] == ["text"] and text_of(reply)
    assert (reply.stop_reason, reply.stop_sequence) == ("max_tokens", None)
    assert reply.usage.output_tokens == 8 and reply.usage.input_tokens > 5
    assert ask(client).id != reply.id


def test_stream_is_the_same_reply(client):
    whole = ask(client)
    kinds = []
    with client.messages.stream(**wanted()) as stream:
        for event in stream:
            kinds.append(event.type)
        final = stream.get_final_message()
    assert text_of(final) == text_of(whole)
    assert final.stop_reason == whole.stop_reason
    assert final.usage.input_tokens == whole.usage.input_tokens
    assert final.usage.output_tokens == whole.usage.output_tokens


def test_events_come_in_their_order(client):
    events = list(ask(client, stream=True))
    kinds = [event.type for event in events if event.type != "ping"]
    assert kinds[:2] == ["message_start", "content_block_start"]
    assert set(kinds[2:-3]) == {"content_block_delta"}
    assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    start, end = events[0].message, events[-2]
    assert start.content == [] and start.stop_reason is None
    assert start.usage.input_tokens == end.usage.input_tokens
    assert (end.delta.stop_reason, end.usage.output_tokens) == ("max_tokens", 8)


@pytest.mark.parametrize("stream", [False, True])
def test_stop_sequences_are_told(client, stream):
    text = text_of(ask(client))
    stop = text[len(text) // 2:][:3]
    options = wanted(stop_sequences=["zzzz", stop])
    if stream:
        with client.messages.stream(**options) as events:
            reply = events.get_final_message()
    else:
        reply = client.messages.create(**options)
    assert (reply.stop_reason, reply.stop_sequence) == ("stop_sequence", stop)
    assert text_of(reply) == text[:text.index(stop)]


def test_an_end_of_the_models_own(client):
    reply = ask(client, max_tokens=200,
                messages=[{"role": "user", "content": "What is the capital of Japan?"}])
    assert (reply.stop_reason, reply.stop_sequence) == ("end_turn", None)


def test_system_and_blocks(client):
    plain = ask(client, system="Be brief.", messages=[{"role": "user", "content": "a\nb"}])
    blocks = ask(client, system=[{"type": "text", "text": "Be brief.",
                                  "cache_control": {"type": "ephemeral"}}],
                 messages=[{"role": "user", "content": [{"type": "text", "text": "a"},
                                                        {"type": "text", "text": "b"}]}])
    assert blocks.usage.input_tokens == plain.usage.input_tokens
    assert text_of(blocks) == text_of(plain)
    longer = ask(client, system="Be brief.", top_p=0.9, top_k=5, messages=[
        {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c"}])
    assert longer.usage.input_tokens > plain.usage.input_tokens


def test_tokens_are_counted_without_a_reply(client, server):
    messages = [{"role": "user", "content": "Why is the sky blue?"}]
    counted = client.messages.count_tokens(model=MODEL, messages=messages, system="Be brief.")
    assert counted.input_tokens == ask(client, messages=messages, system="Be brief.").usage.input_tokens
    # Also what is longer than any context.
    long = [{"role": "user", "content": "word " * 50000}]
    assert client.messages.count_tokens(model=MODEL, messages=long).input_tokens > 50000
    with pytest.raises(anthropic.NotFoundError):
        client.messages.count_tokens(model="missing", messages=messages)
    with pytest.raises(anthropic.BadRequestError, match="messages is required"):
        client.messages.count_tokens(model=MODEL, messages=[])
    status, reply = server.post("/v1/messages/count_tokens", b"[]")
    assert status == 400 and reply["type"] == "error"


def test_thinking_is_a_wish(client):
    assert text_of(ask(client, thinking={"type": "disabled"}))
    assert text_of(ask(client, max_tokens=2000, stop_sequences=[" "],
                       thinking={"type": "enabled", "budget_tokens": 1024})) is not None


def test_errors_have_anthropics_form(client, server):
    with pytest.raises(anthropic.NotFoundError) as caught:
        ask(client, model="missing")
    assert caught.value.body["type"] == "error"
    assert caught.value.body["error"]["type"] == "not_found_error"
    tool = {"name": "f", "input_schema": {"type": "object"}}
    for wrong, word in [({"messages": []}, "messages is required"),
                        ({"max_tokens": 0}, "max_tokens is required"),
                        ({"model": ""}, "model is required"),
                        ({"temperature": "hot"}, "temperature"),
                        ({"tools": [tool]}, "tools"),
                        ({"messages": QUESTION + [{"role": "assistant", "content": "1."}]},
                         "assistant")]:
        with pytest.raises(anthropic.BadRequestError) as caught:
            ask(client, **wrong)
        error = caught.value.body["error"]
        assert error["type"] == "invalid_request_error" and word in error["message"], wrong
    for path, code, kind in [("/v1/messages/nothing", 404, "not_found_error"),
                             ("/v1/messages", 400, "invalid_request_error")]:
        status, reply = server.post(path, b"{")
        assert (status, reply["type"], reply["error"]["type"]) == (code, "error", kind)


def test_closing_a_stream_frees_the_server(client, server):
    stream = ask(client, stream=True, temperature=1, max_tokens=4000)
    next(iter(stream))
    stream.close()
    server.wait_until_idle(15)
