"""The `litellm` package, which speaks three of the server's dialects."""

import json
import os

import pytest

from conftest import MODEL
from tool_models import CALLER, TOOLS, WRITTEN

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # prices are none of this test's business
litellm = pytest.importorskip("litellm")
litellm.suppress_debug_info = True

QUESTION = [{"role": "user", "content": "Name three colours."}]
CITY = {"type": "object", "properties": {"city": {"enum": ["Oslo", "Rome"]}}, "required": ["city"],
        "additionalProperties": False}


def routes(url):
    """The ways to a chat: of Ollama, of OpenAI and of Anthropic."""
    return {"ollama_chat": {"api_base": url},
            "openai": {"api_base": url + "/v1", "api_key": "any"},
            "anthropic": {"api_base": url, "api_key": "any"}}


def chat(server, route, model=MODEL, **options):
    return litellm.completion(model=f"{route}/{model}", messages=QUESTION, temperature=0,
                              num_retries=0, **{"max_tokens": 8, **routes(server.url)[route], **options})


@pytest.mark.parametrize("route", ["ollama_chat", "openai", "anthropic"])
def test_chat_and_stream(server, route):
    whole = chat(server, route)
    text = whole.choices[0].message.content
    assert text and whole.usage.completion_tokens == 8 and whole.choices[0].finish_reason == "length"
    streamed = "".join(chunk.choices[0].delta.content or ""
                       for chunk in chat(server, route, stream=True) if chunk.choices)
    assert streamed == text


@pytest.mark.parametrize("route", ["ollama_chat", "openai"])
def test_structured_output(server, route):
    schema = {"type": "json_schema",
              "json_schema": {"name": "city", "schema": CITY, "strict": True}}
    reply = chat(server, route, max_tokens=60, response_format=schema)
    assert json.loads(reply.choices[0].message.content)["city"] in ("Oslo", "Rome")


def check(choice):
    [call] = choice.message.tool_calls
    assert call.function.name in ("weather", "clock") and json.loads(call.function.arguments)
    assert choice.finish_reason == "tool_calls"


def test_tools(tool_server):
    for route in ("openai", "anthropic"):
        reply = chat(tool_server, route, CALLER, tools=TOOLS, tool_choice="required", max_tokens=200,
                     parallel_tool_calls=False)
        check(reply.choices[0])
    reply = chat(tool_server, "ollama_chat", CALLER, tools=TOOLS, max_tokens=200, regex=WRITTEN)
    check(reply.choices[0])


def test_completions_and_embeddings(server):
    url = server.url
    reply = litellm.text_completion(model=f"text-completion-openai/{MODEL}", prompt="Once",
                                    max_tokens=4, api_base=url + "/v1", api_key="any", n=2)
    assert [choice.index for choice in reply.choices] == [0, 1]
    vectors = {}
    for route, options in (("openai", {"api_base": url + "/v1", "api_key": "any"}),
                           ("ollama", {"api_base": url})):
        reply = litellm.embedding(model=f"{route}/{MODEL}", input=["a cat", "a dog"], **options)
        vectors[route] = [item["embedding"] for item in reply.data]
    for one, other in zip(*vectors.values()):
        assert one == pytest.approx(other, abs=1e-5)


def test_errors(server):
    with pytest.raises(litellm.NotFoundError):
        chat(server, "openai", "missing")
    with pytest.raises(litellm.BadRequestError):
        chat(server, "openai", logit_bias={"99999999": 1})
