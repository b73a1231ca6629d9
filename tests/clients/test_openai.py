"""The official `openai` package against the server."""

import openai
import pytest

from conftest import MODEL

QUESTION = [{"role": "user", "content": "Name three colours."}]


@pytest.fixture
def client(server):
    return openai.OpenAI(base_url=server.url + "/v1", api_key="any", max_retries=0, timeout=120)


def test_chat_completion(client):
    reply = client.chat.completions.create(
        model=MODEL, messages=QUESTION, max_tokens=8, temperature=0)
    assert reply.object == "chat.completion" and reply.model == MODEL
    assert reply.choices[0].message.role == "assistant"
    assert reply.choices[0].finish_reason in ("stop", "length")
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens
    assert 1 <= reply.usage.completion_tokens <= 8


def test_stream_with_usage(client):
    whole = client.chat.completions.create(
        model=MODEL, messages=QUESTION, max_tokens=8, temperature=0)
    chunks = list(client.chat.completions.create(
        model=MODEL, messages=QUESTION, max_tokens=8, temperature=0, stream=True,
        stream_options={"include_usage": True}))
    assert len({chunk.id for chunk in chunks}) == 1
    assert chunks[0].choices[0].delta.role == "assistant"
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    finished = [chunk for chunk in chunks if chunk.choices and chunk.choices[0].finish_reason]
    assert len(finished) == 1
    assert finished[0].choices[0].finish_reason == whole.choices[0].finish_reason
    assert chunks[-1].choices == []
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens


def test_stream_without_usage_has_none(client):
    chunks = list(client.chat.completions.create(
        model=MODEL, messages=QUESTION, max_tokens=3, temperature=0, stream=True))
    assert all(chunk.usage is None and chunk.choices for chunk in chunks)


def test_parts_developer_role_and_stop(client):
    reply = client.chat.completions.create(
        model=MODEL, max_completion_tokens=4, stop=["zzzz"], seed=7,
        messages=[{"role": "system", "content": "Be brief."},
                  {"role": "user", "content": [{"type": "text", "text": "Hello "},
                                               {"type": "text", "text": "there"}]}])
    assert reply.usage.completion_tokens <= 4


def test_reply_goes_on_behind_its_end_when_told(client):
    short = [{"role": "user", "content": "What is the capital of Japan?"}]

    def ask(**options):
        return client.chat.completions.create(
            model=MODEL, messages=short, max_tokens=60, temperature=0, **options)

    assert ask().choices[0].finish_reason == "stop"
    longer = ask(extra_body={"ignore_eos": True})
    assert (longer.choices[0].finish_reason, longer.usage.completion_tokens) == ("length", 60)


def test_completion(client):
    reply = client.completions.create(model=MODEL, prompt="Once", max_tokens=5, temperature=0)
    assert reply.object == "text_completion"
    chunks = list(client.completions.create(
        model=MODEL, prompt="Once", max_tokens=5, temperature=0, stream=True))
    text = "".join(chunk.choices[0].text for chunk in chunks if chunk.choices)
    assert text == reply.choices[0].text


def test_models(client):
    models = client.models.list().data
    assert [model.id for model in models] == [MODEL]
    assert models[0].object == "model" and models[0].owned_by == "library"
    assert client.models.retrieve(MODEL).id == MODEL
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("missing")


def test_errors_have_openai_form(client, server):
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model="missing", messages=QUESTION)
    assert caught.value.body["type"] == "not_found_error"
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=MODEL, messages=[])
    assert caught.value.body["type"] == "invalid_request_error"
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(model=MODEL, messages=QUESTION, temperature="hot")
    status, reply = server.post("/v1/chat/completions", b"{")
    assert status == 400 and reply["error"]["type"] == "invalid_request_error"


def test_closing_a_stream_frees_the_server(client, server):
    stream = client.chat.completions.create(
        model=MODEL, messages=QUESTION, temperature=1, stream=True)
    next(iter(stream))
    stream.close()
    server.wait_until_idle(15)
