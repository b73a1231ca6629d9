"""OpenAI's Responses API with the official `openai` package."""

import json

import openai
import pydantic
import pytest

from conftest import MODEL

QUESTION = "Name three colours."


@pytest.fixture
def client(server):
    return openai.OpenAI(base_url=server.url + "/v1", api_key="any", max_retries=0, timeout=120)


def ask(client, question=QUESTION, **more):
    return client.responses.create(
        **{"model": MODEL, "input": question, "temperature": 0, "max_output_tokens": 12} | more)


def test_a_response(client):
    response = ask(client, instructions="Be brief.", metadata={"a": "b"})
    assert response.id.startswith("resp_") and response.object == "response"
    assert response.model == MODEL and response.metadata == {"a": "b"}
    assert response.instructions == "Be brief."
    assert response.output[0].type == "message" and response.output[0].role == "assistant"
    assert response.output_text == response.output[0].content[0].text != ""
    usage = response.usage
    assert 1 <= usage.output_tokens <= 12
    assert usage.total_tokens == usage.input_tokens + usage.output_tokens


def test_a_reply_that_is_cut_is_incomplete(client):
    response = ask(client, max_output_tokens=2)
    assert response.status == "incomplete"
    assert response.incomplete_details.reason == "max_output_tokens"
    assert ask(client, "What is the capital of Japan?", max_output_tokens=100).status == "completed"


def test_a_stream_tells_the_same(client):
    whole = ask(client)
    events = list(ask(client, stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert [event.type for event in events[:4]] == [
        "response.created", "response.in_progress", "response.output_item.added",
        "response.content_part.added"]
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert "".join(deltas) == whole.output_text and len(deltas) > 3
    assert [event.type for event in events[-4:]] == [
        "response.output_text.done", "response.content_part.done", "response.output_item.done",
        f"response.{whole.status}"]
    last = events[-1].response
    assert last.output_text == whole.output_text
    assert last.usage.output_tokens == whole.usage.output_tokens
    assert len({event.item_id for event in events if hasattr(event, "item_id")}) == 1


def test_the_packages_own_reader_of_streams(client):
    with client.responses.stream(model=MODEL, input="What is the capital of Japan?",
                                 temperature=0) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_response()
    assert "response.output_text.delta" in kinds and "response.completed" in kinds
    assert final.output_text == ask(client, "What is the capital of Japan?",
                                    max_output_tokens=None).output_text


class Colours(pydantic.BaseModel):
    first: str
    count: int


def test_structured_output(client):
    response = client.responses.parse(
        model=MODEL, input="Name a colour and a number, as JSON.", text_format=Colours,
        temperature=0, max_output_tokens=200)
    assert isinstance(response.output_parsed, Colours)
    with client.responses.stream(model=MODEL, input="Name a colour and a number, as JSON.",
                                 text_format=Colours, temperature=0,
                                 max_output_tokens=200) as stream:
        for _ in stream:
            pass
        assert isinstance(stream.get_final_response().output_parsed, Colours)
    plain = ask(client, "Answer as JSON.", text={"format": {"type": "json_object"}},
                max_output_tokens=200)
    if plain.status == "completed":
        json.loads(plain.output_text)
    with pytest.raises(openai.BadRequestError, match="uniqueItems"):
        ask(client, text={"format": {"type": "json_schema", "name": "x", "schema": {
            "type": "array", "uniqueItems": True}}})


def test_going_on_from_a_response(client):
    first = ask(client, "My name is Ann.", max_output_tokens=30)
    by_id = ask(client, "What is my name?", previous_response_id=first.id)
    by_items = ask(client, [
        {"role": "user", "content": "My name is Ann."},
        *[item.model_dump(exclude_none=True) for item in first.output],
        {"role": "user", "content": [{"type": "input_text", "text": "What is my name?"}]}])
    assert by_id.output_text == by_items.output_text
    assert by_id.usage.input_tokens == by_items.usage.input_tokens
    assert by_id.previous_response_id == first.id
    events = list(ask(client, "And again?", previous_response_id=by_id.id, stream=True))
    third = events[-1].response
    assert third.usage.input_tokens > by_id.usage.input_tokens
    assert ask(client, "Once more?", previous_response_id=third.id).usage.input_tokens > \
        third.usage.input_tokens


def test_what_is_kept_can_be_seen_and_removed(client):
    first = ask(client)
    assert client.responses.retrieve(first.id).output_text == first.output_text
    client.responses.delete(first.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(first.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.delete(first.id)
    with pytest.raises(openai.BadRequestError, match="not found"):
        ask(client, previous_response_id=first.id)
    unkept = ask(client, store=False)
    assert unkept.store is False
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(unkept.id)


def test_logprobs(client):
    response = ask(client, include=["message.output_text.logprobs"], top_logprobs=2)
    logprobs = response.output[0].content[0].logprobs
    assert "".join(item.token for item in logprobs) == response.output_text
    assert all(len(item.top_logprobs) == 2 for item in logprobs)


def test_what_cannot_be_done_is_refused_by_name(client, server):
    for more, word in (
            ({"background": True}, "background"), ({"conversation": "conv_1"}, "conversation"),
            ({"tools": [{"type": "code_interpreter", "container": {"type": "auto"}}]},
             "code_interpreter"),
            ({"input": [{"role": "user", "content": [
                {"type": "input_image", "image_url": "https://example.com/x.png"}]}]}, "image"),
            ({"input": [{"type": "item_reference", "id": "x"}]}, "item_reference"),
            ({"previous_response_id": "resp_0"}, "resp_0")):
        with pytest.raises(openai.BadRequestError, match=word):
            ask(client, **more)
    with pytest.raises(openai.NotFoundError):
        ask(client, model="missing")
    long = "word " * 20_000
    with pytest.raises(openai.BadRequestError, match="context"):
        ask(client, long)
    assert ask(client, [{"role": "user", "content": long}, {"role": "user", "content": "Hi."}],
               truncation="auto").usage.output_tokens > 0
    status, reply = server.post("/v1/responses", b"{")
    assert status == 400 and reply["error"]["type"] == "invalid_request_error"


def test_a_stream_that_is_left_frees_the_server(client, server):
    stream = ask(client, stream=True, max_output_tokens=100_000, temperature=1)
    next(iter(stream))
    stream.close()
    server.wait_until_idle(15)
