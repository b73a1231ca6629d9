"""Tiny models that call tools and think: they say nothing sensible, so a grammar makes them call
(tool_choice), or a regular expression makes them write what a model of their family would."""

import subprocess
import sys

from conftest import ROOT, Server, run_sluice

CALLER, THINKER = "caller:tiny", "thinker:tiny"
TEMPLATE = """{%- if tools %}<|im_start|>system
{{ tools | tojson }} <tool_call></tool_call><|im_end|>
{% endif %}{%- for m in messages %}<|im_start|>{{ m.role }}
{{ m.content }}{% for c in m.tool_calls or [] %}<tool_call>{{ c.function | tojson }}</tool_call>{% endfor -%}
<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
THINKING{% endif %}"""
THINKING = """{% if enable_thinking is defined and not enable_thinking %}<think>

</think>

{% else %}<think>
{% endif %}"""
CITY = {"type": "object", "properties": {"city": {"enum": ["Oslo", "Rome"]}}, "required": ["city"],
        "additionalProperties": False}
TIME = {"type": "object", "properties": {"zone": {"type": "integer", "minimum": 0, "maximum": 9}},
        "required": ["zone"], "additionalProperties": False}
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": CITY}},
         {"type": "function", "function": {"name": "clock", "parameters": TIME}}]
# What a model of the family writes that calls the first of TOOLS.
WRITTEN = r'Wait\.\n<tool_call>\n\{"name": "weather", "arguments": \{"city": "Oslo"\}\}\n</tool_call>'


def start_tool_server(home):
    """With the two models; its `home` is where they are."""
    # The end of thinking must be likely, as the models draw whatever there is.
    (home / "words").write_text("</think>\n" * 60 + "<tool_call>\n</tool_call>\n\": \"\n")
    for name, thinking in ((CALLER, ""), (THINKER, THINKING)):
        template = home / f"{name}.jinja"
        template.write_text(TEMPLATE.replace("THINKING", thinking))
        model = home / f"{name}.gguf"
        subprocess.run([sys.executable, ROOT / "tests/tools/make_model.py", model, "--shape", "tiny",
                        "--type", "F16", "--context", "2048", "--words", home / "words",
                        "--chat-template", template], check=True, stdout=subprocess.DEVNULL)
        run_sluice("import", str(model), name, home=home)
    server = Server(home)
    server.home = home
    return server
