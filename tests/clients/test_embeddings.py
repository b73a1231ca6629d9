"""Embeddings through the official packages; chat models give them, too."""

import base64
import math
import struct

import ollama
import openai
import pytest

from conftest import MODEL

TEXTS = ["The cat sat on the mat.", "A feline rested on a rug.", "Interest rates rose in May."]


@pytest.fixture
def client(server):
    return ollama.Client(host=server.url, timeout=120)


@pytest.fixture
def openai_client(server):
    return openai.OpenAI(base_url=server.url + "/v1", api_key="none", timeout=120, max_retries=0)


def length(vector):
    return math.sqrt(sum(x * x for x in vector))


def nearness(one, other):
    return sum(x * y for x, y in zip(one, other)) / length(one) / length(other)


def test_vectors_have_length_one_and_the_order_of_the_inputs(client):
    reply = client.embed(MODEL, input=TEXTS)
    assert reply.model == MODEL
    assert len(reply.embeddings) == 3
    assert all(abs(length(vector) - 1) < 1e-4 for vector in reply.embeddings)
    assert reply.prompt_eval_count > 9
    assert reply.total_duration >= reply.load_duration > 0
    backwards = client.embed(MODEL, input=TEXTS[::-1]).embeddings[::-1]
    for one, other in zip(reply.embeddings, backwards):
        assert nearness(one, other) > 0.999


def test_alone_and_in_a_crowd_agree(client):
    many = client.embed(MODEL, input=[*TEXTS, *(f"text number {i}" for i in range(100))])
    assert len(many.embeddings) == 103
    for text, vector in zip(TEXTS, many.embeddings):
        alone = client.embed(MODEL, input=text).embeddings
        assert len(alone) == 1 and nearness(alone[0], vector) > 0.999


def test_dimensions_cut_and_scale_again(client):
    whole = client.embed(MODEL, input=TEXTS[0]).embeddings[0]
    cut = client.embed(MODEL, input=TEXTS[0], dimensions=16).embeddings[0]
    assert len(cut) == 16 and abs(length(cut) - 1) < 1e-4
    assert nearness(cut, whole[:16]) > 0.999


def test_no_input_loads(client):
    for nothing in ("", []):
        assert list(client.embed(MODEL, input=nothing).embeddings) == []
    assert client.ps().models


def test_the_old_endpoint(client):
    vector = client.embeddings(MODEL, prompt=TEXTS[0]).embedding
    assert nearness(vector, client.embed(MODEL, input=TEXTS[0]).embeddings[0]) > 0.999
    assert list(client.embeddings(MODEL, prompt="").embedding) == []


def test_too_long_is_cut_or_refused(client, server):
    text = "word " * 200
    options = {"num_ctx": 64}
    cut = client.embed(MODEL, input=text, options=options)
    assert cut.prompt_eval_count == 64
    with pytest.raises(ollama.ResponseError) as caught:
        client.embed(MODEL, input=text, truncate=False, options=options)
    assert caught.value.status_code == 400
    assert "the input length exceeds the context length" in caught.value.error


def test_openai_as_numbers_and_base64(openai_client, client):
    expected = client.embed(MODEL, input=TEXTS).embeddings
    for encoding in ("float", "base64"):
        reply = openai_client.embeddings.create(
            model=MODEL, input=TEXTS, encoding_format=encoding)
        assert reply.usage.prompt_tokens == reply.usage.total_tokens > 9
        for i, item in enumerate(reply.data):
            vector = item.embedding
            if encoding == "base64":
                data = base64.b64decode(vector)
                vector = struct.unpack(f"<{len(data) // 4}f", data)
            assert item.index == i and nearness(vector, expected[i]) > 0.999
    # What the package asks for when nothing is said, and decodes itself.
    plain = openai_client.embeddings.create(model=MODEL, input=TEXTS[0], dimensions=8)
    assert len(plain.data[0].embedding) == 8


@pytest.mark.parametrize("path, body, status, text", [
    ("/api/embed", {"model": MODEL, "input": 5}, 400, "invalid input type"),
    ("/api/embed", {"model": MODEL, "input": ["a", 5]}, 400, "invalid input type"),
    ("/api/embed", {"model": MODEL, "input": ["a"] * 3000}, 400, "at most 2048"),
    ("/api/embed", {"model": "missing:1b", "input": "a"}, 404,
     'model "missing:1b" not found, try pulling it first'),
    ("/api/embed", b"", 400, "missing request body"),
    ("/api/embeddings", {"prompt": "a"}, 400, "model is required"),
    ("/api/embeddings", {"model": "missing:1b", "prompt": "a"}, 404, "not found"),
    ("/v1/embeddings", {"model": MODEL}, 400, "invalid input"),
    ("/v1/embeddings", {"model": MODEL, "input": []}, 400, "invalid input"),
    ("/v1/embeddings", {"model": MODEL, "input": [[1, "a"]]}, 400, "token ids"),
    ("/v1/embeddings", {"model": MODEL, "input": "a", "encoding_format": "x"}, 400, "base64"),
])
def test_wrong_requests_say_why(server, path, body, status, text):
    code, reply = server.post(path, body)
    assert code == status, reply
    error = reply["error"]
    assert text in (error["message"] if path.startswith("/v1") else error)


@pytest.mark.parametrize("path", ["/v1/rerank", "/v2/rerank", "/rerank"])
def test_rerank(server, path):
    documents = ["Paris is the capital of France.", "Bread is made of flour.", "Cats sleep a lot."]
    body = {"model": MODEL, "query": documents[1], "documents": documents}
    status, reply = server.post(path, body)
    assert status == 200, reply
    results = reply["results"]
    assert sorted(item["index"] for item in results) == [0, 1, 2]
    assert results[0]["index"] == 1 and results[0]["relevance_score"] > 0.99
    assert results[0]["document"]["text"] == documents[1]
    scores = [item["relevance_score"] for item in results]
    assert scores == sorted(scores, reverse=True)
    embeddings = server.post("/api/embed", {"model": MODEL, "input": documents})[1]["embeddings"]
    for item in results:
        cosine = sum(a * b for a, b in zip(embeddings[1], embeddings[item["index"]]))
        assert abs(cosine - item["relevance_score"]) < 1e-4
    status, reply = server.post(path, dict(body, top_n=2, return_documents=False))
    assert [set(item) for item in reply["results"]] == [{"index", "relevance_score"}] * 2
    assert [item["index"] for item in reply["results"]] == [item["index"] for item in results[:2]]
    status, reply = server.post(path, dict(body, model="missing"))
    assert status == 404 and reply["error"]["type"] == "not_found_error"
    status, reply = server.post(path, dict(body, documents=[]))
    assert status == 400 and "documents" in reply["error"]["message"]
