"""What Python renders: jinja2 with the environment of transformers (both must be installed), and the
conversations that templates are tried with."""

import copy
import datetime

from transformers.utils.chat_template_utils import _compile_jinja_template

NOW = datetime.datetime(2026, 7, 4, 9, 5, 7)


def render(source, context, now=NOW):
    """(text, None), or (None, what Python raised)."""
    try:
        template = _compile_jinja_template(source)
        template.environment.globals["strftime_now"] = now.strftime
        text = template.render(**copy.deepcopy(context))  # `|indent` may change a list
        text.encode()  # lone surrogates cannot be compared
        return text, None
    except Exception as error:  # whatever a template raises
        return None, f"{type(error).__name__}: {error}"


def say(role, content, **more):
    return {"role": role, "content": content, **more}


def parts(*texts):
    return [{"type": "text", "text": text} for text in texts]


WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": 'The weather "now" in a city & more <b>',
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "description": "City name"},
                "unit": {"type": "string", "enum": ["c", "f"], "default": "c"},
                "days": {"type": ["integer", "null"], "minimum": 1.5},
                "tags": {"type": "array", "items": {"type": "string"}},
                "where": {
                    "type": "object",
                    "properties": {"lat": {"type": "number"}, "lon": {"type": "number"}},
                    "required": ["lat"],
                },
            },
            "required": ["city", "days"],
            "additionalProperties": False,
        },
    },
}
CLOCK = {
    "type": "function",
    "function": {
        "name": "clock",
        "description": "Zeit für später ⏰",
        "parameters": {"type": "object", "properties": {}},
        "return": {"type": "string", "description": "The time"},
    },
}
STRICT = {
    "type": "function",
    "function": {
        "name": "any",
        "description": "",
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {
                "x": {"anyOf": [{"type": "integer"}, {"type": "string"}], "title": "X"},
                "y": {"oneOf": [{"const": 1}, {"const": "b"}]},
                "z": {"$ref": "#/$defs/Z"},
            },
            "$defs": {"Z": {"type": "boolean"}},
        },
    },
}


def call(name, arguments, identity="call00001"):
    return {"id": identity, "type": "function", "function": {"name": name, "arguments": arguments}}


USER, BYE = say("user", "Hello, who are you?"), say("user", "  And now?\n\n")
SYSTEM = say("system", "You are a helpful assistant.")
ANSWER = say("assistant", "I am a model. ")
ONE_CALL = say("assistant", "", tool_calls=[call("get_weather", {"city": "Zürich", "days": 2})])
BOTH_CALLS = say(
    "assistant",
    None,
    tool_calls=[
        call("get_weather", {"city": "O'Hara \"x\"", "tags": ["a", 1, 1.5, None, True]}, "abcdefghi"),
        call("clock", {}, "123456789"),
    ],
)
TEXT_CALL = say("assistant", "Let me see.", tool_calls=[call("clock", '{"zone": "UTC"}')])
BARE_CALL = say("assistant", None, tool_calls=[{"name": "clock", "arguments": {"zone": "UTC"}}])
RESULT = say("tool", '{"temp": 21.5}', name="get_weather", tool_call_id="call00001")
RESULTS = [
    say("tool", "sunny <ok>", name="get_weather", tool_call_id="abcdefghi"),
    say("tool", "12:00", name="clock", tool_call_id="123456789"),
]
THINK = say("assistant", "Four.", reasoning_content="2+2 is 4,\nsurely.\n")
THINK_INLINE = say("assistant", "<think>\nhm, let me\n</think>\n\nYes.")
THINK_FIELD = say("assistant", "Five.", thinking="count the fingers")
UNICODE = say("user", "Grüße, 世界! \U0001f680 e\u0301 \u00a0\u2028x\t'\"\\ <|im_end|> {{ x }}")

CONVERSATIONS = {
    "plain": [USER],
    "system": [SYSTEM, USER],
    "turns": [USER, ANSWER, BYE],
    "system turns": [SYSTEM, USER, ANSWER, BYE, ANSWER, USER],
    "ends with answer": [SYSTEM, USER, ANSWER],
    "unicode": [say("system", "Ünï\n"), UNICODE, say("assistant", "日本語\n"), UNICODE],
    "empty content": [say("system", ""), say("user", ""), say("assistant", ""), say("user", "x")],
    "none content": [USER, say("assistant", None), BYE],
    "no content": [USER, {"role": "assistant"}, BYE],
    "parts": [say("user", parts("one", "two")), say("assistant", parts("three")), say("user", "x")],
    "system parts": [say("system", parts("be kind")), say("user", parts("hi"))],
    "image": [say("user", [{"type": "image"}, {"type": "text", "text": "what is it?"}])],
    "image url": [say("user", [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "x"}}])],
    "audio": [say("user", [{"type": "audio"}, {"type": "video"}, {"type": "text", "text": "b"}])],
    "unknown part": [say("user", [{"type": "smell", "smell": "x"}])],
    "tool call": [USER, ONE_CALL, RESULT],
    "tool call answered": [SYSTEM, USER, ONE_CALL, RESULT, ANSWER, BYE],
    "two tool calls": [SYSTEM, USER, BOTH_CALLS, *RESULTS, ANSWER, BYE],
    "two tool calls open": [SYSTEM, USER, BOTH_CALLS, *RESULTS],
    "text call": [USER, TEXT_CALL, RESULT, ANSWER],
    "bare call": [USER, BARE_CALL, RESULT, ANSWER],
    "call then text": [USER, ONE_CALL, RESULT, TEXT_CALL, RESULT],
    "result parts": [USER, ONE_CALL, say("tool", parts("a", "b"), name="get_weather")],
    "result mapping": [USER, ONE_CALL, say("tool", {"a": [1, 2.0]}, name="get_weather", tool_call_id="z")],
    "ipython": [USER, ONE_CALL, say("ipython", "42")],
    "thinking": [USER, THINK, BYE],
    "thinking tool": [USER, dict(ONE_CALL, reasoning_content="need weather"), RESULT],
    "thinking tools done": [
        SYSTEM, USER, dict(BOTH_CALLS, reasoning_content="both"), *RESULTS, THINK, BYE, THINK],
    "thinking inline": [USER, THINK_INLINE, BYE, THINK_INLINE],
    "thinking field": [USER, THINK_FIELD, BYE],
    "thinking inline tool": [USER, dict(ONE_CALL, content="<think>a</think>b"), RESULT],
    "developer": [say("developer", "Be brief."), USER],
    "system late": [USER, ANSWER, SYSTEM, BYE],
    "two systems": [SYSTEM, SYSTEM, USER],
    "two users": [USER, BYE],
    "assistant first": [ANSWER, USER],
    "only system": [SYSTEM],
    "only answer": [ANSWER],
    "nothing": [],
    "unknown role": [say("wizard", "Abracadabra")],
    "document": [say("document", "Text."), say("user", "Summarize"), say("context", "c")],
    "numbers": [say("user", 12), say("assistant", 3.0), say("user", True)],
    "no role": [{"content": "x"}],
    "extra keys": [dict(USER, name="bob", weight=0, train=False, recipient="all", channel="final"),
                   dict(ANSWER, prefix=True, end_turn=True), BYE],
    "commands": [say("system", "/no_think be\n/think"), say("user", "x /no_think"), ANSWER, say("user", "/system_override")],
}
OPTIONS = {
    "": {"add_generation_prompt": True},
    "no tools": {"add_generation_prompt": True, "tools": None, "documents": None},
    "no prompt": {"add_generation_prompt": False},
    "think": {"add_generation_prompt": True, "enable_thinking": True, "thinking": True},
    "no think": {"add_generation_prompt": True, "enable_thinking": False, "thinking": False},
    "tools": {"add_generation_prompt": True, "tools": [WEATHER, CLOCK]},
    "tools no prompt": {"add_generation_prompt": False, "tools": [WEATHER], "documents": []},
    "strict tools": {"add_generation_prompt": True, "tools": [STRICT], "enable_thinking": False},
    "bare tools": {"add_generation_prompt": True, "tools": [WEATHER["function"]]},
    "extras": {
        "add_generation_prompt": True,
        "documents": [{"title": "T", "text": "Some text"}, {"title": "U", "text": "More", "doc_id": 7}],
        "reasoning_effort": "high", "date_string": "1 Jan 2026", "builtin_tools": ["code_interpreter", "x"],
        "custom_tools": [CLOCK], "keep_past_thinking": True, "clear_thinking": False, "preserve_thinking": True,
        "model_identity": "You are Test.", "citation_mode": "accurate", "add_vision_id": True,
        "thinking_budget": 512, "xml_tools": [CLOCK], "python_tools": ["f"], "tools_in_user_message": False,
        "controls": {"length": "short", "originality": "x"}, "available_tools": [CLOCK["function"]],
        "functions": [CLOCK["function"]], "datetime": "2026-07-04", "tool_choice": "auto",
    },
}


def contexts():
    """(name, context) of every conversation with every set of options."""
    for conversation, messages in CONVERSATIONS.items():
        for option, values in OPTIONS.items():
            context = {"messages": messages, "bos_token": "<s>", "eos_token": "</s>", **values}
            yield f"{conversation} / {option}", context
