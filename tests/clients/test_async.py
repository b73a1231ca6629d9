"""The official clients' asynchronous halves, and all that Ollama's can do in both."""

import asyncio
import inspect
import json

import anthropic
import ollama
import openai
import pytest

from conftest import MODEL, make_tiny_model
from tool_models import CALLER, CITY, THINKER, TOOLS, WRITTEN

HELLO = [{"role": "user", "content": "Say hi"}]
SHORT = {"num_predict": 8, "temperature": 0}
COLOUR = {"type": "object", "properties": {"colour": {"enum": ["red", "blue"]}},
          "required": ["colour"], "additionalProperties": False}


class Caller:
    """Calls a client, whichever of both it is."""

    def __init__(self, kind, url):
        self.client = kind(host=url)

    def __getattr__(self, name):
        method = getattr(self.client, name)

        def call(*arguments, **fields):
            async def wait():
                # A client of its own, as each loop needs.
                own = getattr(type(self.client)(host=self.url), name)
                result = await own(*arguments, **fields)
                return [item async for item in result] if fields.get("stream") else result

            if inspect.iscoroutinefunction(method):
                return asyncio.run(wait())
            result = method(*arguments, **fields)
            return list(result) if fields.get("stream") else result

        return call

    @property
    def url(self):
        return str(self.client._client.base_url)


@pytest.fixture(params=[ollama.Client, ollama.AsyncClient], ids=["sync", "async"])
def kind(request):
    return request.param


@pytest.fixture
def client(kind, server):
    return Caller(kind, server.url)


@pytest.fixture
def tool_client(kind, tool_server):
    return Caller(kind, tool_server.url)


def test_generate_and_chat(client):
    whole = client.generate(MODEL, "Say hi", options=SHORT, logprobs=True, top_logprobs=2)
    assert whole.done and whole.context and len(whole.logprobs) == whole.eval_count
    pieces = client.generate(MODEL, "Say hi", options=SHORT, stream=True)
    assert "".join(piece.response for piece in pieces) == whole.response
    raw = client.generate(MODEL, "Say hi", options=SHORT, raw=True, system=None)
    assert raw.prompt_eval_count < whole.prompt_eval_count
    chat = client.chat(MODEL, HELLO, options=SHORT, keep_alive="5m")
    pieces = client.chat(MODEL, HELLO, options=SHORT, stream=True)
    assert "".join(piece.message.content for piece in pieces) == chat.message.content
    assert pieces[-1].done_reason == chat.done_reason


def test_structured_output(client):
    for reply in (client.chat(MODEL, HELLO, format=COLOUR).message.content,
                  client.generate(MODEL, "A colour:", format=COLOUR).response):
        assert json.loads(reply)["colour"] in ("red", "blue")


def test_tools_and_thinking(tool_client):
    def weather(city: str) -> str:
        """Looks out of the window.

        Args:
          city: its name
        """
        return city

    for tools in (TOOLS, [weather]):
        reply = tool_client.chat(CALLER, HELLO, tools=tools, options={"num_predict": 20})
        assert reply.message.role == "assistant"
    # It may draw the end of its thinking at once.
    assert any(tool_client.chat(THINKER, HELLO, think=True,
                                options={"num_predict": 40, "seed": seed}).message.thinking
               for seed in range(9))
    with pytest.raises(ollama.ResponseError, match="does not support thinking") as failure:
        tool_client.chat(CALLER, HELLO, think=True)
    assert failure.value.status_code == 400


def test_embeddings(client):
    both = client.embed(MODEL, ["a", "b"])
    assert len(both.embeddings) == 2
    assert len(client.embed(MODEL, "a", dimensions=8, truncate=True).embeddings[0]) == 8
    assert len(client.embeddings(MODEL, "a").embedding) == len(both.embeddings[0])


def test_models_are_made_looked_at_and_removed(client, kind, tmp_path):
    name = f"made-{kind.__name__.lower()}"
    lines = client.create(name, from_=MODEL, system="Be brief.", parameters={"temperature": 0.5},
                          license="free", messages=HELLO, template="{{ .Prompt }}", stream=True)
    assert lines[-1].status == "success"
    shown = client.show(name)
    assert shown.license == "free" and "temperature" in shown.parameters
    assert shown.template == "{{ .Prompt }}" and shown.modelinfo["general.architecture"]
    client.copy(name, f"{name}-2")
    assert {f"{name}:latest", f"{name}-2:latest"} <= {m.model for m in client.list().models}
    client.generate(f"{name}-2", keep_alive="5m")
    assert any(m.expires_at for m in client.ps().models)
    for each in (name, f"{name}-2"):
        assert client.delete(each).status == "success"
    make_tiny_model(tmp_path / "m.gguf")
    digest = client.create_blob(tmp_path / "m.gguf")
    assert client.create(name, files={"m.gguf": digest}, quantize="q8_0").status == "success"
    assert client.show(name).details.quantization_level == "Q8_0"
    assert client.delete(name).status == "success"
    for call in (client.show, client.delete, client.generate):
        with pytest.raises(ollama.ResponseError, match="not found") as failure:
            call(name)
        assert failure.value.status_code == 404
    with pytest.raises(ollama.ResponseError, match="adapters"):
        client.create(name, from_=MODEL, adapters={"a": digest})


def test_openais(server, tool_server):
    async def ask():
        async with openai.AsyncOpenAI(base_url=server.url + "/v1", api_key="any",
                                      max_retries=0) as client:
            request = dict(model=MODEL, messages=HELLO, max_tokens=8, temperature=0)
            crowd = await asyncio.gather(
                *(client.chat.completions.create(**request) for _ in range(16)))
            assert all(reply.choices[0].message.content for reply in crowd)
            whole = await client.chat.completions.create(**request)
            text = ""
            async for chunk in await client.chat.completions.create(stream=True, **request):
                text += chunk.choices[0].delta.content or ""
            assert text == whole.choices[0].message.content
            async with client.responses.stream(model=MODEL, input="hi",
                                               max_output_tokens=4) as stream:
                types = [event.type async for event in stream]
            assert types[0] == "response.created"
            assert types[-1] in ("response.completed", "response.incomplete")
            done = await client.completions.create(model=MODEL, prompt="Say hi", max_tokens=4)
            assert done.usage.completion_tokens <= 4
            vectors = await client.embeddings.create(model=MODEL, input=["a", "b"])
            assert len(vectors.data) == 2
            assert MODEL in [model.id async for model in client.models.list()]
            with pytest.raises(openai.NotFoundError):
                await client.chat.completions.create(**{**request, "model": "none"})
        async with openai.AsyncOpenAI(base_url=tool_server.url + "/v1", api_key="any") as client:
            reply = await client.chat.completions.create(
                model=CALLER, messages=HELLO, tools=TOOLS, extra_body={"regex": WRITTEN})
            assert json.loads(reply.choices[0].message.tool_calls[0].function.arguments) == {
                "city": "Oslo"}

    asyncio.run(ask())


def test_anthropics(server, tool_server):
    async def ask():
        async with anthropic.AsyncAnthropic(base_url=server.url, api_key="any",
                                            max_retries=0) as client:
            request = dict(model=MODEL, messages=HELLO, max_tokens=8,
                           extra_body={"temperature": 0})
            whole = await client.messages.create(**request)
            async with client.messages.stream(**request) as stream:
                text = "".join([piece async for piece in stream.text_stream])
            assert text == whole.content[0].text
            counted = await client.messages.count_tokens(model=MODEL, messages=HELLO)
            assert counted.input_tokens == whole.usage.input_tokens
            with pytest.raises(anthropic.NotFoundError) as failure:
                await client.messages.create(**{**request, "model": "none"})
            assert failure.value.request_id == failure.value.body["request_id"]
        async with anthropic.AsyncAnthropic(base_url=tool_server.url, api_key="any") as client:
            called = await client.messages.create(
                model=CALLER, messages=HELLO, max_tokens=300,
                tools=[{"name": "weather", "input_schema": CITY}],
                tool_choice={"type": "tool", "name": "weather"})
            assert called.stop_reason == "tool_use"
            assert called.content[-1].input["city"] in ("Oslo", "Rome")

    asyncio.run(ask())


def test_a_task_that_is_cancelled_frees_the_engine(server):
    async def leave(make):
        begun = asyncio.Event()

        async def read():
            async for _ in await make():
                begun.set()

        task = asyncio.create_task(read())
        await asyncio.wait_for(begun.wait(), 30)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    async def run():
        endless = {"num_predict": 8000, "num_ctx": 8192}
        native = ollama.AsyncClient(host=server.url)
        await leave(lambda: native.chat(MODEL, HELLO, stream=True, options=endless))
        async with openai.AsyncOpenAI(base_url=server.url + "/v1", api_key="any") as client:
            await leave(lambda: client.chat.completions.create(
                model=MODEL, messages=HELLO, stream=True, extra_body={"ignore_eos": True}))
        async with anthropic.AsyncAnthropic(base_url=server.url, api_key="any") as client:
            await leave(lambda: client.messages.create(
                model=MODEL, messages=HELLO, max_tokens=8000, stream=True,
                extra_body={"ignore_eos": True}))
        server.wait_until_idle(15)

    asyncio.run(run())
