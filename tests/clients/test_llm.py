"""The `llm` package: its library and its command."""

import json
import os
import subprocess
import sys

import pytest

from conftest import MODEL
from tool_models import CALLER, CITY

llm = pytest.importorskip("llm")


@pytest.fixture
def models(server, tool_server, tmp_path, monkeypatch):
    """Names that `llm` knows: those in the file that its users write for other servers."""
    entries = [{"model_id": "chat", "model_name": MODEL, "url": server.url, "supports_schema": True},
               {"model_id": "text", "model_name": MODEL, "url": server.url, "completion": True},
               {"model_id": "responses", "model_name": MODEL, "url": server.url, "responses": True},
               {"model_id": "caller", "model_name": CALLER, "url": tool_server.url,
                "supports_tools": True}]
    for entry in entries:
        entry["api_base"] = entry.pop("url") + "/v1"
    (tmp_path / "extra-openai-models.yaml").write_text(json.dumps(entries))  # which is YAML
    monkeypatch.setenv("LLM_USER_PATH", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("name", ["chat", "text", "responses"])
def test_prompt_and_stream(models, name):
    model = llm.get_model(name)
    wanted = dict(temperature=0, max_tokens=16)
    whole = model.prompt("Name three colours.", stream=False, **wanted).text()
    streamed = model.prompt("Name three colours.", stream=True, **wanted)
    pieces = list(streamed)
    assert whole and "".join(pieces) == whole and len(pieces) > 2


def test_conversation(models):
    conversation = llm.get_model("chat").conversation()
    first = conversation.prompt("Hi", stream=False, max_tokens=4, temperature=0)
    second = conversation.prompt("And?", stream=False, max_tokens=4, temperature=0)
    assert first.text() and second.text()
    assert second.usage().input > first.usage().input


def test_schema(models):
    reply = llm.get_model("chat").prompt("Where?", schema=CITY, stream=False, max_tokens=60)
    assert json.loads(reply.text())["city"] in ("Oslo", "Rome")


def test_tools_are_offered(models):
    def weather(city: str) -> str:
        """The weather of a city."""
        return city

    reply = llm.get_model("caller").prompt("Hi", tools=[weather], stream=False, max_tokens=4)
    reply.text()
    plain = llm.get_model("caller").prompt("Hi", stream=False, max_tokens=4)
    plain.text()
    assert reply.usage().input > plain.usage().input


def test_embeddings(models, server, monkeypatch):
    from llm.default_plugins.openai_models import OpenAIEmbeddingModel
    monkeypatch.setenv("OPENAI_BASE_URL", server.url + "/v1")
    model = OpenAIEmbeddingModel("here", MODEL)
    model.key = "any"
    assert model.embed("a cat") == pytest.approx(list(model.embed_multi(["a cat", "a dog"]))[0], abs=1e-4)


def test_command(models):
    command = [sys.executable, "-m", "llm", "-m", "chat", "-o", "max_tokens", "8", "-o", "temperature", "0"]
    done = subprocess.run([*command, "Name three colours."], env=dict(os.environ), text=True,
                          capture_output=True, timeout=60, check=True)
    assert done.stdout.strip()
    done = subprocess.run([*command, "-m", "nothing", "Hi"], env=dict(os.environ), text=True,
                          capture_output=True, timeout=60)
    assert done.returncode != 0
