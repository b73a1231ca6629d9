"""Structured output, through the official clients: what comes is what was asked for, whatever the
model would rather say. Schemas bound every string, since the model of the tests may ramble."""

import json
import re
from concurrent.futures import ThreadPoolExecutor

import anthropic
import ollama
import openai
import pytest

from conftest import MODEL

QUESTION = [{"role": "user", "content": "Tell me about a person, as JSON."}]
PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 12},
        "age": {"type": "integer", "minimum": 0, "maximum": 130},
        "mood": {"enum": ["glad", "sad"]},
        "tags": {"type": "array", "items": {"type": "string", "maxLength": 6}, "maxItems": 3},
    },
    "required": ["name", "age", "mood", "tags"],
    "additionalProperties": False,
}


def check_person(text):
    person = json.loads(text)
    assert list(person) == ["name", "age", "mood", "tags"], text
    assert isinstance(person["name"], str) and len(person["name"]) <= 12
    assert isinstance(person["age"], int) and 0 <= person["age"] <= 130
    assert person["mood"] in ("glad", "sad")
    assert len(person["tags"]) <= 3 and all(len(tag) <= 6 for tag in person["tags"])


@pytest.fixture
def ollama_client(server):
    return ollama.Client(host=server.url)


@pytest.fixture
def openai_client(server):
    return openai.OpenAI(base_url=server.url + "/v1", api_key="any", max_retries=0, timeout=120)


@pytest.mark.parametrize("seed", range(4))
def test_ollama_schema(ollama_client, seed):
    options = {"seed": seed, "temperature": 1.0, "num_predict": 400}
    reply = ollama_client.chat(model=MODEL, messages=QUESTION, format=PERSON, options=options)
    assert reply.done_reason == "stop"
    check_person(reply.message.content)
    whole = ollama_client.generate(model=MODEL, prompt="A person:", format=PERSON, options=options)
    check_person(whole.response)


def test_ollama_streams_the_same(ollama_client):
    options = {"seed": 3, "temperature": 1.0, "num_predict": 400}
    whole = ollama_client.chat(model=MODEL, messages=QUESTION, format=PERSON, options=options)
    pieces = list(ollama_client.chat(
        model=MODEL, messages=QUESTION, format=PERSON, options=options, stream=True))
    assert len(pieces) > 2
    assert "".join(piece.message.content for piece in pieces) == whole.message.content


def test_json_mode_says_when_it_was_cut(ollama_client, openai_client):
    reply = ollama_client.chat(model=MODEL, messages=QUESTION, format="json",
                               options={"num_predict": 12, "temperature": 0})
    assert reply.message.content.lstrip().startswith("{")
    assert reply.done_reason in ("stop", "length")
    choice = openai_client.chat.completions.create(
        model=MODEL, messages=QUESTION, max_tokens=3, temperature=0,
        response_format={"type": "json_schema", "json_schema": {
            "name": "list", "schema": {"type": "array", "minItems": 50}}}).choices[0]
    assert choice.finish_reason == "length" and choice.message.content.lstrip().startswith("[")


@pytest.mark.parametrize("speculate", [False, True])
def test_openai_schema_with_logprobs(openai_client, speculate):
    reply = openai_client.chat.completions.create(
        model=MODEL, messages=QUESTION, max_tokens=400, temperature=1, seed=5, logprobs=True,
        top_logprobs=2, extra_body={"speculate": speculate},
        response_format={"type": "json_schema",
                         "json_schema": {"name": "person", "strict": True, "schema": PERSON}})
    choice = reply.choices[0]
    assert choice.finish_reason == "stop"
    check_person(choice.message.content)
    assert "".join(item.token for item in choice.logprobs.content) == choice.message.content


def test_openai_regex_choice_and_grammar(openai_client):
    def ask(**extra):
        return openai_client.chat.completions.create(
            model=MODEL, messages=QUESTION, max_tokens=60, temperature=1,
            extra_body=extra).choices[0].message.content
    assert re.fullmatch(r"[a-c]{3}-[0-9]{2}", ask(guided_regex="[a-c]{3}-[0-9]{2}"))
    assert ask(guided_choice=["left", "right"]) in ("left", "right")
    assert ask(structured_outputs={"choice": ["up", "down"]}) in ("up", "down")
    assert re.fullmatch(r"(yes|no)( [0-9]){2}", ask(grammar='root ::= ("yes" | "no") (" " [0-9]){2}'))


def test_completions_take_it_too(openai_client):
    reply = openai_client.completions.create(
        model=MODEL, prompt="A person:", max_tokens=400, temperature=1,
        extra_body={"response_format": {"type": "json_schema", "json_schema": {"schema": PERSON}}})
    check_person(reply.choices[0].text)


def test_anthropic_output_format(server):
    client = anthropic.Anthropic(base_url=server.url, api_key="any", max_retries=0)
    reply = client.messages.create(
        model=MODEL, messages=QUESTION, max_tokens=400,
        extra_body={"output_config": {"format": {"type": "json_schema", "schema": PERSON}}})
    assert reply.stop_reason == "end_turn"
    check_person(reply.content[0].text)


def test_many_at_once(ollama_client):
    def ask(seed):
        kind = {"type": "object", "properties": {f"k{seed}": {"type": "integer"}},
                "required": [f"k{seed}"]}
        options = {"seed": seed, "temperature": 1.0, "num_predict": 60}
        text = ollama_client.chat(
            model=MODEL, messages=QUESTION, format=kind, options=options).message.content
        assert list(json.loads(text)) == [f"k{seed}"], text
    with ThreadPoolExecutor(24) as pool:
        list(pool.map(ask, range(24)))


@pytest.mark.parametrize("schema, named", [
    ({"not": {"type": "string"}}, '"not"'),
    ({"type": "array", "uniqueItems": True}, '"uniqueItems"'),
    ({"type": "string", "pattern": "(?=a)b"}, "look-around"),
    ({"$ref": "http://example.com/x.json"}, '"$ref"'),
    ({"type": "string", "minLength": 3, "maxLength": 2}, "nothing can satisfy"),
    ({"type": "wrong"}, '"wrong"'),
])
def test_what_cannot_be_honoured_is_refused_by_name(server, schema, named):
    bodies = {
        "/api/chat": {"format": schema},
        "/v1/chat/completions": {"response_format": {
            "type": "json_schema", "json_schema": {"name": "x", "schema": schema}}},
        "/v1/messages": {"output_config": {"format": {"type": "json_schema", "schema": schema}}},
    }
    for path, fields in bodies.items():
        status, reply = server.post(
            path, {"model": MODEL, "messages": QUESTION, "max_tokens": 5, **fields})
        assert status == 400, (path, reply)
        assert named in json.dumps(reply).replace('\\"', '"'), (path, reply)


@pytest.mark.parametrize("field, value", [
    ("regex", "(a|b)*a(a|b){40}"),
    ("regex", "(" * 300),
    ("grammar", "root ::= root"),
    ("grammar", "root ::= (" * 300),
    ("guided_choice", []),
    ("guided_json", "{"),
])
def test_hostile_ones_end_soon(server, field, value):
    status, reply = server.post("/v1/chat/completions", {
        "model": MODEL, "messages": QUESTION, "max_tokens": 2, field: value})
    assert status == (200 if value == [] else 400), reply
