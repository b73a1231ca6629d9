"""The `langchain-ollama` package."""

import asyncio

import pytest

from conftest import MODEL
from tool_models import CALLER, CITY, THINKER, TOOLS, WRITTEN

langchain = pytest.importorskip("langchain_ollama")
from langchain_core.messages import HumanMessage, ToolMessage  # noqa: E402

SHORT = {"num_predict": 8, "temperature": 0, "seed": 1}


def chat(server, model=MODEL, **options):
    return langchain.ChatOllama(model=model, base_url=server.url, **{**SHORT, **options})


def test_chat_and_stream(server):
    model = chat(server)
    reply = model.invoke([("system", "Be brief."), ("human", "Name three colours.")])
    assert reply.content and reply.usage_metadata["output_tokens"] == 8
    assert reply.response_metadata["done_reason"] == "length"
    chunks = list(model.stream([("system", "Be brief."), ("human", "Name three colours.")]))
    assert len(chunks) > 2 and "".join(chunk.content for chunk in chunks) == reply.content
    later = asyncio.run(model.ainvoke([("system", "Be brief."), ("human", "Name three colours.")]))
    assert later.content == reply.content


def test_completion(server):
    model = langchain.OllamaLLM(model=MODEL, base_url=server.url, **SHORT)
    text = model.invoke("Once upon a time")
    assert text and "".join(model.stream("Once upon a time")) == text


def test_structured_output(server):
    schema = {"title": "place", "description": "A place.", **CITY}
    model = chat(server, num_predict=60).with_structured_output(schema, method="json_schema")
    assert model.invoke("Where?")["city"] in ("Oslo", "Rome")


def test_tools(tool_server):
    model = chat(tool_server, CALLER).bind_tools(TOOLS)
    asked = [("human", "Hi")]
    reply = model.invoke(asked, options={"num_predict": 200, "regex": WRITTEN})
    [call] = reply.tool_calls
    assert (call["name"], call["args"]) == ("weather", {"city": "Oslo"}) and call["id"]
    streamed = None
    for chunk in model.stream(asked, options={"num_predict": 200, "regex": WRITTEN}):
        streamed = chunk if streamed is None else streamed + chunk
    assert [item["args"] for item in streamed.tool_calls] == [{"city": "Oslo"}]
    # And what came of it goes back.
    after = model.invoke([HumanMessage("Hi"), reply, ToolMessage("7", tool_call_id=call["id"])],
                         options={"num_predict": 2})
    assert after.usage_metadata["input_tokens"] > reply.usage_metadata["input_tokens"]


def test_thinking(tool_server):
    reply = chat(tool_server, THINKER, reasoning=True).invoke(
        "Hi", options={"num_predict": 300, "regex": "yes", "seed": 3})
    assert reply.additional_kwargs["reasoning_content"]
    quiet = chat(tool_server, THINKER, reasoning=False).invoke("Hi", options={"regex": "yes"})
    assert quiet.content == "yes"


def test_embeddings(server):
    model = langchain.OllamaEmbeddings(model=MODEL, base_url=server.url)
    vectors = model.embed_documents(["a cat", "a dog"])
    assert len(vectors) == 2 and sum(x * x for x in vectors[0]) == pytest.approx(1, abs=1e-4)
    assert model.embed_query("a cat") == pytest.approx(vectors[0], abs=1e-4)


def test_a_missing_model(server):
    with pytest.raises(Exception, match="not found"):
        chat(server, "missing").invoke("Hi")
