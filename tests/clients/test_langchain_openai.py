"""The `langchain-openai` package."""

import asyncio

import pytest

from conftest import MODEL
from tool_models import CALLER, CITY, TOOLS

langchain = pytest.importorskip("langchain_openai")
from langchain_core.messages import HumanMessage, ToolMessage  # noqa: E402

SHORT = {"max_tokens": 8, "temperature": 0, "seed": 1, "max_retries": 0}
MESSAGES = [("system", "Be brief."), ("human", "Name three colours.")]


def chat(server, model=MODEL, **options):
    return langchain.ChatOpenAI(model=model, base_url=server.url + "/v1", api_key="any",
                                **{**SHORT, **options})


def test_chat_and_stream(server):
    model = chat(server, stream_usage=True)
    reply = model.invoke(MESSAGES)
    assert reply.content and reply.usage_metadata["output_tokens"] == 8
    assert reply.response_metadata["finish_reason"] == "length"
    chunks = list(model.stream(MESSAGES))
    assert "".join(chunk.content for chunk in chunks) == reply.content
    assert sum((chunk.usage_metadata or {}).get("output_tokens", 0) for chunk in chunks) == 8
    assert asyncio.run(model.ainvoke(MESSAGES)).content == reply.content


def test_several_choices_with_logprobs(server):
    model = chat(server, temperature=1, n=2, logprobs=True, top_logprobs=2)
    [generations] = model.generate([[HumanMessage("Name three colours.")]]).generations
    assert len(generations) == 2
    assert generations[0].message.response_metadata["logprobs"]["content"]


def test_responses(server):
    model = chat(server, use_responses_api=True, seed=None)
    reply = model.invoke(MESSAGES)
    assert reply.text and reply.usage_metadata["output_tokens"] == 8
    assert "".join(chunk.text for chunk in model.stream(MESSAGES)) == reply.text


def test_completion(server):
    model = langchain.OpenAI(model=MODEL, base_url=server.url + "/v1", api_key="any", **SHORT)
    text = model.invoke("Once upon a time")
    assert text and "".join(model.stream("Once upon a time")) == text


def test_structured_output(server):
    schema = {"title": "place", "description": "A place.", **CITY}
    model = chat(server, max_tokens=200).with_structured_output(schema, method="json_schema")
    assert model.invoke("Where?")["city"] in ("Oslo", "Rome")


def test_tools(tool_server):
    model = chat(tool_server, CALLER, max_tokens=200).bind_tools(
        TOOLS, tool_choice="weather", parallel_tool_calls=False)
    reply = model.invoke("Hi")
    [call] = reply.tool_calls
    assert call["name"] == "weather" and call["args"]["city"] in ("Oslo", "Rome")
    streamed = None
    for chunk in model.stream("Hi"):
        streamed = chunk if streamed is None else streamed + chunk
    assert [item["args"] for item in streamed.tool_calls] == [call["args"]]
    after = chat(tool_server, CALLER).bind_tools(TOOLS).invoke(
        [HumanMessage("Hi"), reply, ToolMessage("7", tool_call_id=call["id"])])
    assert after.usage_metadata["input_tokens"] > reply.usage_metadata["input_tokens"]


def test_structured_output_by_a_tool(tool_server):
    schema = {"title": "place", "description": "A place.", **CITY}
    model = chat(tool_server, CALLER, max_tokens=200).with_structured_output(
        schema, method="function_calling")
    assert model.invoke("Where?")["city"] in ("Oslo", "Rome")


def test_embeddings(server):
    model = langchain.OpenAIEmbeddings(model=MODEL, base_url=server.url + "/v1", api_key="any",
                                       check_embedding_ctx_length=False)
    vectors = model.embed_documents(["a cat", "a dog"])
    assert len(vectors) == 2 and sum(x * x for x in vectors[0]) == pytest.approx(1, abs=1e-4)
    assert model.embed_query("a cat") == pytest.approx(vectors[0], abs=1e-4)


def test_errors(server):
    import openai
    with pytest.raises(openai.NotFoundError):
        chat(server, "missing").invoke("Hi")
    with pytest.raises(openai.BadRequestError):
        chat(server, top_p=7).invoke("Hi")
