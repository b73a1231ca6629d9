"""Go templates: a model's own, a request's, and text between a prompt and a suffix."""

import shutil

import subprocess
import sys

import openai
import pytest

from conftest import MODEL, ROOT, Server, run_sluice

INSERTS = "{{ if .Suffix }}<P>{{ .Prompt }}<S>{{ .Suffix }}<M>{{ else }}{{ .Prompt }}{{ end }}"
SPEAKS = "{{ range .Messages }}[{{ .Role }} {{ .Content }}]{{ end }}"


def make(server, name, **fields):
    status, reply = server.post("/api/create", {"model": name, "from": MODEL, "stream": False, **fields})
    assert status == 200, reply


def rendered(server, path, **fields):
    status, reply = server.post(path, {"stream": False, "_debug_render_only": True, **fields})
    assert status == 200, reply
    return reply["_debug_info"]["rendered_template"]


# A store of its own: other tests know what is in theirs.
@pytest.fixture(scope="module")
def server(home, tmp_path_factory):
    own = tmp_path_factory.mktemp("templates")
    shutil.copytree(home / "models", own / "models")
    server = Server(own)
    make(server, "speaks", template=SPEAKS, system="Be brief.")
    make(server, "inserts", template=INSERTS)
    filling = own / "filling.gguf"
    subprocess.run([sys.executable, ROOT / "tests/tools/make_model.py", filling, "--fills"], check=True,
                   stdout=subprocess.DEVNULL)
    run_sluice("import", str(filling), "fills", home=own)
    yield server
    assert server.stop() == 0, "".join(server.log)[-5000:]


def test_names_with_the_same_weights_have_templates_of_their_own(server):
    messages = [{"role": "user", "content": "Hi"}]
    ours = rendered(server, "/api/chat", model=MODEL, messages=messages)
    assert "Hi" in ours and "[user" not in ours
    assert rendered(server, "/api/chat", model="speaks", messages=messages) == \
        "[system Be brief.][user Hi]"
    assert rendered(server, "/api/generate", model="speaks", prompt="Hi", system="Sing.") == \
        "[system Sing.][user Hi]"
    assert rendered(server, "/api/generate", model="inserts", prompt="Hi") == "Hi"
    for name, template in (("speaks", SPEAKS), ("inserts", INSERTS)):
        status, shown = server.post("/api/show", {"model": name})
        assert status == 200 and shown["template"] == template
        assert ("insert" in shown["capabilities"]) == (name == "inserts")


def test_a_template_of_the_request(server):
    fields = {"model": MODEL, "prompt": "Hi", "options": {"num_predict": 2, "seed": 1}}
    assert rendered(server, "/api/generate", template="<{{ .Prompt }}>", **fields) == "<Hi>"
    status, reply = server.post("/api/generate", {"template": "a\n{{ .Prompt", "stream": False, **fields})
    assert status == 400 and "line 2" in reply["error"]
    status, reply = server.post("/api/generate", {"template": "{{ .Prompt }}", "stream": False, **fields})
    raw, same = server.post("/api/generate", {"raw": True, "stream": False, **fields})
    assert status == raw == 200 and reply["prompt_eval_count"] == same["prompt_eval_count"]


def test_text_before_a_suffix(server):
    fields = {"model": "inserts", "prompt": "def f(x):", "suffix": "return y"}
    assert rendered(server, "/api/generate", **fields) == "<P>def f(x):<S>return y<M>"
    assert rendered(server, "/api/generate", template="{{ .Suffix }}|{{ .Prompt }}", **fields) == \
        "return y|def f(x):"
    status, reply = server.post("/api/generate",
                                {"stream": False, "options": {"num_predict": 2}, **fields})
    assert status == 200 and reply["done"]
    status, reply = server.post("/api/generate", {**fields, "model": MODEL})
    assert status == 400 and "does not support insert" in reply["error"]
    status, reply = server.post("/api/generate", {**fields, "raw": True})
    assert status == 400 and "suffix" in reply["error"]


def test_openai_suffix(server):
    client = openai.OpenAI(base_url=server.url + "/v1", api_key="any", max_retries=0)
    with_suffix = client.completions.create(model="inserts", prompt="a", suffix="z", max_tokens=2)
    without = client.completions.create(model="inserts", prompt="a", max_tokens=2)
    assert with_suffix.usage.prompt_tokens > without.usage.prompt_tokens
    with pytest.raises(openai.BadRequestError, match="does not support insert"):
        client.completions.create(model=MODEL, prompt="a", suffix="z")
    with pytest.raises(openai.BadRequestError, match="needs a prompt that is text"):
        client.completions.create(model="inserts", prompt=[1, 2], suffix="z")


def test_a_model_with_tokens_for_it_fills_in_without_a_template(server):
    fields = {"model": "fills", "prompt": "def f(<|im_end|>):", "suffix": "return y"}
    text = "<|fim_prefix|>def f(<|im_end|>):<|fim_suffix|>return y<|fim_middle|>"
    assert rendered(server, "/api/generate", **fields) == text
    assert "insert" in server.post("/api/show", {"model": "fills"})[1]["capabilities"]
    greedy = {"num_predict": 8, "temperature": 0}
    status, reply = server.post("/api/generate", {"stream": False, "options": greedy, **fields,
                                                  "prompt": "def f():"})
    raw, same = server.post("/api/generate", {
        "model": "fills", "prompt": text.replace("<|im_end|>", ""), "raw": True, "stream": False,
        "options": greedy})
    assert status == raw == 200 and reply["response"] == same["response"]
    assert reply["prompt_eval_count"] == same["prompt_eval_count"]
    client = openai.OpenAI(base_url=server.url + "/v1", api_key="any", max_retries=0)
    filled = client.completions.create(model="fills", prompt="def f():", suffix="return y",
                                       max_tokens=8, temperature=0)
    assert filled.choices[0].text == reply["response"]
    assert filled.usage.prompt_tokens == reply["prompt_eval_count"]
    status, reply = server.post("/api/generate", {"stream": False, **fields, "prompt": "x " * 3000,
                                                  "options": {"num_predict": 2, "num_ctx": 256}})
    assert status == 200 and 0 < reply["prompt_eval_count"] < 256
    status, reply = server.post("/api/generate", {**fields, "template": "{{ .Prompt }}"})
    assert status == 400 and "does not support insert" in reply["error"]
