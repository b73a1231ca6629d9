"""Tool calls and thinking, through the official clients."""

import json
from concurrent.futures import ThreadPoolExecutor

import anthropic
import ollama
import openai
import pytest

from conftest import MODEL
from terminal import PROMPT, Terminal
from tool_models import CALLER, CITY, THINKER, TIME, TOOLS, WRITTEN

ANTHROPIC_TOOLS = [{"name": "weather", "input_schema": CITY}, {"name": "clock", "input_schema": TIME}]
QUESTION = [{"role": "user", "content": "Hi"}]
SHORT = {"num_predict": 300, "temperature": 1.0}


@pytest.fixture
def ollama_client(tool_server):
    return ollama.Client(host=tool_server.url)


@pytest.fixture
def openai_client(tool_server):
    return openai.OpenAI(base_url=tool_server.url + "/v1", api_key="any", max_retries=0, timeout=120)


@pytest.fixture
def anthropic_client(tool_server):
    return anthropic.Anthropic(base_url=tool_server.url, api_key="any", max_retries=0, timeout=120)


def check_call(name, arguments):
    if name == "weather":
        assert list(arguments) == ["city"] and arguments["city"] in ("Oslo", "Rome")
    else:
        assert name == "clock" and list(arguments) == ["zone"] and 0 <= arguments["zone"] <= 9


def test_show_tells_the_capabilities(ollama_client):
    assert ollama_client.show(CALLER).capabilities == ["completion", "tools"]
    assert ollama_client.show(THINKER).capabilities == ["completion", "tools", "thinking"]


# Written by the model as its family writes calls.


def test_ollama_call(tool_server):
    body = {"model": CALLER, "messages": QUESTION, "tools": TOOLS, "regex": WRITTEN, "stream": False}
    status, reply = tool_server.post("/api/chat", body)
    assert status == 200
    message = reply["message"]
    assert message["content"] == "Wait.\n"
    [call] = message["tool_calls"]
    assert call["function"] == {"index": 0, "name": "weather", "arguments": {"city": "Oslo"}}
    assert call["id"].startswith("call_") and len(call["id"]) == 13
    assert reply["done_reason"] == "stop"
    # Without tools it is text.
    status, reply = tool_server.post("/api/chat", dict(body, tools=[]))
    assert status == 200 and "tool_calls" not in reply["message"]
    assert reply["message"]["content"].endswith("</tool_call>")


def test_openai_call_written_by_the_model(openai_client):
    request = dict(model=CALLER, messages=QUESTION, tools=TOOLS, extra_body={"regex": WRITTEN})
    choice = openai_client.chat.completions.create(**request).choices[0]
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content == "Wait.\n"
    [call] = choice.message.tool_calls
    assert call.type == "function" and call.function.name == "weather"
    assert json.loads(call.function.arguments) == {"city": "Oslo"}
    text, calls, reasons = "", [], []
    for chunk in openai_client.chat.completions.create(stream=True, logprobs=True, **request):
        for choice in chunk.choices:
            text += choice.delta.content or ""
            calls += choice.delta.tool_calls or []
            reasons += [choice.finish_reason] if choice.finish_reason else []
    assert text == "Wait.\n" and reasons == ["tool_calls"]
    assert [(c.index, c.function.name, c.function.arguments) for c in calls] == [
        (0, "weather", '{"city":"Oslo"}')]
    assert calls[0].id


def test_what_is_no_call_is_text(openai_client):
    for text in ('<tool_call>{"name": "weather", "arguments": 5}</tool_call>', "<tool_call>", "a <tool_"):
        escaped = "".join("\\" + c if c in '{}.' else c for c in text)
        reply = openai_client.chat.completions.create(
            model=CALLER, messages=QUESTION, tools=TOOLS, extra_body={"regex": escaped})
        assert reply.choices[0].message.content == text
        assert reply.choices[0].finish_reason == "stop"


# Held to by the grammar.


@pytest.mark.parametrize("seed", range(4))
def test_openai_required(openai_client, seed):
    reply = openai_client.chat.completions.create(
        model=CALLER, messages=QUESTION, tools=TOOLS, tool_choice="required", seed=seed,
        parallel_tool_calls=False, logprobs=True, top_logprobs=2)
    choice = reply.choices[0]
    assert choice.finish_reason == "tool_calls" and choice.message.content is None
    [call] = choice.message.tool_calls
    check_call(call.function.name, json.loads(call.function.arguments))
    assert "<tool_call>" in "".join(item.token for item in choice.logprobs.content)


def test_openai_named_streamed_and_guessed(openai_client):
    request = dict(model=CALLER, messages=QUESTION, tools=TOOLS, seed=1, parallel_tool_calls=False,
                   tool_choice={"type": "function", "function": {"name": "clock"}})
    results = []
    for speculate in (False, True):
        stream = openai_client.chat.completions.create(
            stream=True, extra_body={"speculate": speculate}, **request)
        calls = [call for chunk in stream for choice in chunk.choices
                 for call in choice.delta.tool_calls or []]
        [call] = calls
        check_call("clock", json.loads(call.function.arguments))
        assert call.function.name == "clock"
        results.append(call.function.arguments)
    assert results[0] == results[1]


def test_several_calls_have_indices(openai_client):
    for seed in range(20):
        reply = openai_client.chat.completions.create(
            model=CALLER, messages=QUESTION, tools=TOOLS, tool_choice="required", seed=seed,
            max_tokens=300)
        calls = reply.choices[0].message.tool_calls or []
        for call in calls:
            check_call(call.function.name, json.loads(call.function.arguments))
        if len(calls) > 1:
            assert len({call.id for call in calls}) == len(calls)
            return
    pytest.fail("no reply had several calls")


def num_cancelled(server):
    [loaded] = [model for model in server.get("/api/ps")["models"] if model["name"] == CALLER]
    return loaded["sluice"]["cancelled"]


def test_one_call_when_there_may_be_no_more(openai_client, tool_server):
    tool_server.post("/api/chat", {"model": CALLER})
    before = num_cancelled(tool_server)
    twice = WRITTEN + "\\n" + WRITTEN.split("\\n", 1)[1]
    for parallel in (True, False):
        reply = openai_client.chat.completions.create(
            model=CALLER, messages=QUESTION, tools=TOOLS, parallel_tool_calls=parallel,
            extra_body={"regex": twice})
        assert len(reply.choices[0].message.tool_calls) == (2 if parallel else 1)
        assert reply.choices[0].finish_reason == "tool_calls"
    assert num_cancelled(tool_server) == before


def test_64_at_once(openai_client):
    def call(seed):
        reply = openai_client.chat.completions.create(
            model=CALLER, messages=QUESTION, tools=TOOLS, tool_choice="required", seed=seed,
            parallel_tool_calls=False)
        [call] = reply.choices[0].message.tool_calls
        check_call(call.function.name, json.loads(call.function.arguments))
        return call.function.arguments

    with ThreadPoolExecutor(64) as pool:
        assert len(set(pool.map(call, range(64)))) > 1


def test_openai_conversation_with_results(openai_client):
    first = openai_client.chat.completions.create(
        model=CALLER, messages=QUESTION, tools=TOOLS, tool_choice="required", parallel_tool_calls=False)
    message = first.choices[0].message
    messages = QUESTION + [message.model_dump(exclude_none=True),
                           {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "7"}]
    reply = openai_client.chat.completions.create(model=CALLER, messages=messages, tools=TOOLS,
                                                  max_tokens=5)
    assert reply.usage.prompt_tokens > first.usage.prompt_tokens


@pytest.mark.parametrize("choice", [{"type": "any"}, {"type": "tool", "name": "weather"}])
def test_anthropic_call(anthropic_client, choice):
    request = dict(model=CALLER, max_tokens=300, messages=QUESTION, tools=ANTHROPIC_TOOLS,
                   tool_choice=dict(choice, disable_parallel_tool_use=True))
    reply = anthropic_client.messages.create(**request)
    assert reply.stop_reason == "tool_use"
    [block] = reply.content
    assert block.type == "tool_use" and block.name == choice.get("name", block.name)
    check_call(block.name, block.input)
    with anthropic_client.messages.stream(**request) as stream:
        kinds = [event.type for event in stream]
        message = stream.get_final_message()
    assert message.stop_reason == "tool_use"
    check_call(message.content[0].name, message.content[0].input)
    assert kinds.count("content_block_start") == kinds.count("content_block_stop") == 1
    messages = QUESTION + [
        {"role": "assistant", "content": [message.content[0].model_dump(exclude_none=True)]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": message.content[0].id,
                                      "content": [{"type": "text", "text": "7"}]}]}]
    after = anthropic_client.messages.create(**dict(request, messages=messages, max_tokens=5,
                                                    tool_choice={"type": "auto"}))
    assert after.usage.input_tokens > reply.usage.input_tokens


def test_what_cannot_be_is_said(openai_client, ollama_client, server):
    for choice, text in (({"type": "function", "function": {"name": "walk"}}, "not in \"tools\""),
                         ("often", "tool_choice must be")):
        with pytest.raises(openai.BadRequestError) as error:
            openai_client.chat.completions.create(model=CALLER, messages=QUESTION, tools=TOOLS,
                                                  tool_choice=choice)
        assert text in str(error.value)
    bad = [{"type": "function", "function": {"name": "f", "parameters": {
        "type": "object", "properties": {"a": {"type": "string", "not": {"minLength": 2}}}}}}]
    with pytest.raises(openai.BadRequestError) as error:
        openai_client.chat.completions.create(model=CALLER, messages=QUESTION, tools=bad,
                                              tool_choice="required")
    assert "not" in str(error.value)
    plain = ollama.Client(host=server.url)
    with pytest.raises(ollama.ResponseError) as failure:
        plain.chat(MODEL, messages=QUESTION, tools=TOOLS)
    assert failure.value.status_code == 400 and "does not support tools" in str(failure.value)
    for think in (True, "high"):
        with pytest.raises(ollama.ResponseError) as failure:
            plain.chat(MODEL, messages=QUESTION, think=think)
        assert failure.value.status_code == 400
        assert f'"{MODEL}" does not support thinking' in str(failure.value)
    assert plain.chat(MODEL, messages=QUESTION, think=False, options={"num_predict": 2}).done


# Thinking.


@pytest.mark.parametrize("think", [None, True, "low"])
def test_ollama_thinks(ollama_client, think):
    for seed in range(5):
        reply = ollama_client.chat(THINKER, messages=QUESTION, think=think, format={"enum": ["x"]},
                                   options=dict(SHORT, seed=seed))
        if reply.done_reason == "stop" and reply.message.thinking:
            break
    assert reply.message.thinking
    assert "think>" not in reply.message.thinking
    assert json.loads(reply.message.content) == "x"
    parts = list(ollama_client.chat(THINKER, messages=QUESTION, think=think, format={"enum": ["x"]},
                                    options=dict(SHORT, seed=seed), stream=True))
    assert "".join(part.message.thinking or "" for part in parts) == reply.message.thinking
    assert "".join(part.message.content or "" for part in parts) == reply.message.content
    generated = ollama_client.generate(THINKER, prompt="Hi", think=think, format={"enum": ["x"]},
                                       options=dict(SHORT, seed=seed))
    assert generated.thinking == reply.message.thinking
    assert generated.response == reply.message.content


def test_ollama_does_not_think(ollama_client):
    reply = ollama_client.chat(THINKER, messages=QUESTION, think=False, format={"enum": ["x"]},
                               options=SHORT)
    assert reply.message.thinking is None and json.loads(reply.message.content) == "x"


def test_thinking_with_a_call(openai_client):
    for seed in range(6):
        reply = openai_client.chat.completions.create(
            model=THINKER, messages=QUESTION, tools=TOOLS, tool_choice="required", seed=seed,
            parallel_tool_calls=False, max_tokens=250)
        message = reply.choices[0].message
        if message.tool_calls and getattr(message, "reasoning_content", None):
            break
    assert message.reasoning_content
    [call] = message.tool_calls
    check_call(call.function.name, json.loads(call.function.arguments))
    quiet = openai_client.chat.completions.create(
        model=THINKER, messages=QUESTION, tools=TOOLS, tool_choice="required", parallel_tool_calls=False,
        reasoning_effort="none")
    assert not getattr(quiet.choices[0].message, "reasoning_content", None)
    assert quiet.choices[0].finish_reason == "tool_calls"


def test_anthropic_thinks(anthropic_client):
    request = dict(model=THINKER, max_tokens=300, messages=QUESTION, extra_body={"regex": "yes"},
                   thinking={"type": "enabled", "budget_tokens": 1024})
    for seed in range(6):
        with anthropic_client.messages.stream(**request) as stream:
            message = stream.get_final_message()
        if message.stop_reason == "end_turn" and len(message.content) == 2:
            break
    assert [block.type for block in message.content] == ["thinking", "text"]
    assert message.content[0].thinking and message.content[1].text == "yes"
    off = anthropic_client.messages.create(**dict(request, thinking={"type": "disabled"}))
    assert [block.type for block in off.content] == ["text"] and off.content[0].text == "yes"


def test_completions_give_the_text_as_it_is(openai_client):
    reply = openai_client.completions.create(model=CALLER, prompt="x", extra_body={"regex": WRITTEN})
    assert reply.choices[0].text.endswith("</tool_call>")


def test_thinking_in_the_terminal(tool_server):
    host = tool_server.url.removeprefix("http://")
    flags = ["run", THINKER, "--format", '{"enum": ["x"]}', "--num-predict", "300"]
    for seed in range(6):  # until one comes to an end
        terminal = Terminal(tool_server.home, *flags, "--seed", str(seed), "hi", host=host)
        assert terminal.wait() == 0
        if '"x"' in terminal.screen and "Thinking..." in terminal.screen:
            break
    assert "\x1b[2mThinking..." in terminal.raw_output
    shown, _, rest = terminal.screen.partition("...done thinking.")
    assert "Thinking..." in shown and '"x"' in rest
    for flag in ("--hidethinking", "--think=false"):
        terminal = Terminal(tool_server.home, *flags, "--seed", str(seed), flag, "hi", host=host)
        assert terminal.wait() == 0
        assert "hinking" not in terminal.screen and '"x"' in terminal.screen
    chat = Terminal(tool_server.home, *flags, "--seed", str(seed), host=host)
    chat.read_until(PROMPT)
    for command, is_told in (("/set nothink", False), ("/set think", True)):
        chat.type(command + "\n")
        chat.read_until(PROMPT)
        chat.type("hi\n")
        assert ("Thinking..." in chat.read_until(PROMPT)) == is_told
    chat.type("/bye\n")
    assert chat.wait() == 0


def test_responses_call(openai_client):
    tools = [dict(tool["function"], type="function") for tool in TOOLS]
    request = dict(model=CALLER, input="Hi", tools=tools, tool_choice="required",
                   parallel_tool_calls=False, max_output_tokens=200)
    reply = openai_client.responses.create(**request)
    [call] = reply.output
    assert call.type == "function_call"
    check_call(call.name, json.loads(call.arguments))
    done = [event.arguments for event in openai_client.responses.create(stream=True, **request)
            if event.type == "response.function_call_arguments.done"]
    assert len(done) == 1 and json.loads(done[0])
