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


def test_several_choices(client):
    wanted = dict(model=MODEL, messages=QUESTION, n=3, max_tokens=12, temperature=1.0, seed=5)
    whole = client.chat.completions.create(**wanted)
    texts = [choice.message.content for choice in whole.choices]
    assert [choice.index for choice in whole.choices] == [0, 1, 2] and len(set(texts)) > 1
    alone = client.chat.completions.create(**{**wanted, "n": 1})
    assert whole.usage.prompt_tokens == alone.usage.prompt_tokens
    assert whole.usage.completion_tokens > alone.usage.completion_tokens
    streamed, reasons = ["", "", ""], [None, None, None]
    for chunk in client.chat.completions.create(
            stream=True, stream_options={"include_usage": True}, **wanted):
        for choice in chunk.choices:
            streamed[choice.index] += choice.delta.content or ""
            reasons[choice.index] = choice.finish_reason or reasons[choice.index]
    assert all(streamed) and len(set(streamed)) > 1 and None not in reasons
    assert chunk.usage.prompt_tokens == whole.usage.prompt_tokens
    prompts = client.completions.create(model=MODEL, prompt=["a", "b"], n=2, max_tokens=2)
    assert [choice.index for choice in prompts.choices] == [0, 1, 2, 3]


def test_biases(client):
    def first(**options):
        reply = client.completions.create(model=MODEL, prompt="Once", max_tokens=1, temperature=0,
                                          logprobs=1, **options).choices[0]
        return reply.text, reply.logprobs.token_logprobs[0]

    text, _ = first()
    other, logprob = first(logit_bias={"70": 100})
    assert other != text and logprob < -1  # as the model has it
    third, _ = first(logit_bias={"70": -100, "71": 100})
    assert third not in (text, other)
    assert first(logit_bias={"70": 100, "71": 50})[0] == other
    assert first(logit_bias={})[0] == text
    for wrong in ({"9999999": 1}, {"5": 101}, {"a": 1}, {"5": None}):
        with pytest.raises(openai.BadRequestError, match="logit_bias"):
            first(logit_bias=wrong)


def test_echo(client):
    wanted = dict(model=MODEL, prompt=["Once ", "upon "], max_tokens=3, temperature=0)
    def begins_with_its_prompt(texts):
        return all(text.startswith(prompt) and len(text) > len(prompt)
                   for text, prompt in zip(texts, wanted["prompt"], strict=True))

    assert begins_with_its_prompt(
        [choice.text for choice in client.completions.create(echo=True, **wanted).choices])
    streamed = ["", ""]
    for chunk in client.completions.create(echo=True, stream=True, **wanted):
        for choice in chunk.choices:
            streamed[choice.index] += choice.text
    assert begins_with_its_prompt(streamed)
    alone = client.completions.create(**{**wanted, "max_tokens": 0}, echo=True, n=2)
    assert [choice.text for choice in alone.choices] == ["Once ", "Once ", "upon ", "upon "]
    with pytest.raises(openai.BadRequestError, match="echo with logprobs"):
        client.completions.create(echo=True, logprobs=1, **wanted)
    with pytest.raises(openai.BadRequestError, match="best_of"):
        client.completions.create(best_of=2, **wanted)


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
