"""The description of the HTTP API, and the server held to it: schemathesis makes requests by it, right
and wrong ones, and checks what comes back."""

import os
import pathlib
import subprocess
import sys

import pytest

from conftest import MODEL, Server, make_tiny_model, run_sluice

SECONDS = int(os.environ.get("SLUICE_OPENAPI_SECONDS", "25"))
CHECKS = ("not_a_server_error", "status_code_conformance", "content_type_conformance",
          "response_schema_conformance", "negative_data_rejection", "unsupported_method")


# A store and a server of its own: models are copied and removed here. The model is a small one, for
# thousands of requests.
@pytest.fixture(scope="module")
def server(tmp_path_factory):
    own = tmp_path_factory.mktemp("openapi")
    make_tiny_model(own / "tiny.gguf")
    run_sluice("import", str(own / "tiny.gguf"), MODEL, home=own)
    server = Server(own)
    yield server
    assert server.stop() == 0, "".join(server.log)[-5000:]


def test_the_description_is_given_out(server):
    document = server.get("/openapi.json")
    assert document["openapi"].startswith("3.1") and "/v1/chat/completions" in document["paths"]


# A request to each path that is right: what one field makes wrong is that field's fault.
GOOD = {
    "/api/show": {}, "/api/copy": {"source": MODEL, "destination": "copied"},
    "/api/chat": {"messages": [{"role": "user", "content": "x"}], "stream": False,
                  "options": {"num_predict": 1}},
    "/api/generate": {"prompt": "x", "stream": False, "options": {"num_predict": 1}},
    "/api/embed": {"input": "x"}, "/api/embeddings": {"prompt": "x"},
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "x"}], "max_tokens": 1},
    "/v1/completions": {"prompt": "x", "max_tokens": 1}, "/v1/embeddings": {"input": "x"},
    "/v1/responses": {"input": "x", "max_output_tokens": 1},
    "/v1/rerank": {"query": "x", "documents": ["y"]},
    "/v1/messages": {"messages": [{"role": "user", "content": "x"}], "max_tokens": 1},
    "/v1/messages/count_tokens": {"messages": [{"role": "user", "content": "x"}]},
    "/api/pull": {"stream": False}, "/api/push": {"stream": False}, "/api/create": {"stream": False},
}
WRONG = (None, True, -1, 5.5, 10**30, 1e300, "text", "\x00\ufffd", [], [None], [[[]]], {}, {"a": {"b": [1]}},
         {"type": "object", "function": {"name": 7}, "source": [], "format": {}})


def resolved(document, schema):
    while "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
    return schema


def properties_of(document, schema):
    return resolved(document, schema).get("properties", {})


def takes_null(document, schema):
    schema = resolved(document, schema)
    choices = schema.get("anyOf", []) + schema.get("oneOf", [])
    if choices:
        return any(takes_null(document, choice) for choice in choices)
    return "null" in schema.get("type", "null") and None in schema.get("enum", [None])


def optional_without_null(document, schema, path, seen=()):
    """Paths of the fields in this schema that may be left out, but not be null."""
    if schema.get("$ref") in seen:
        return []
    seen = (*seen, schema.get("$ref", path))
    schema = resolved(document, schema)
    found = []
    for name, field in schema.get("properties", {}).items():
        if name not in schema.get("required", []) and not takes_null(document, field):
            found.append(f"{path}.{name}")
        found += optional_without_null(document, field, f"{path}.{name}", seen)
    parts = [schema["items"]] if isinstance(schema.get("items"), dict) else []
    for part in parts + schema.get("anyOf", []) + schema.get("oneOf", []) + schema.get("allOf", []):
        found += optional_without_null(document, part, path, seen)
    return found


def test_null_is_as_good_as_nothing(server):
    """The server takes null for a field that is not there: so does what it says of itself."""
    document = server.get("/openapi.json")
    found = []
    for path, operations in document["paths"].items():
        body = operations.get("post", {}).get("requestBody", {})
        for kind in resolved(document, body).get("content", {}).values():
            found += optional_without_null(document, kind.get("schema", {}), path)
    assert not found


def test_wrong_values_in_every_field(server):
    document = server.get("/openapi.json")
    tried = 0
    for path, good in GOOD.items():
        schema = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
        fields = properties_of(document, schema)
        is_about_a_new_one = path in ("/api/create", "/api/push", "/api/pull")
        # What is taken for "no limit" ends all the same.
        good = {"model": "another" if is_about_a_new_one else MODEL, "timeout": "500ms", **good}
        for field in fields:
            members = properties_of(document, fields[field])
            values = [*WRONG, *({member: value} for member in members for value in WRONG)]
            for value in values:
                if field == "stream" and value in (True, None):
                    continue  # is right
                status, reply = server.post(path, {**good, field: value})
                tried += 1
                assert status < 500 or status in (503, 504), (path, field, value, status, reply)
                if status != 200:
                    assert isinstance(reply, dict) and reply["error"], (path, field, value, reply)
    assert tried > 3000
    server.wait_until_idle(15)


def test_requests_made_by_it(server, tmp_path):
    command = [pathlib.Path(sys.executable).parent / "st", "run", server.url + "/openapi.json",
               "--checks", ",".join(CHECKS), "--max-time", str(SECONDS), "--max-examples", "15",
               "--phases", "examples,coverage,fuzzing", "--seed", "1", "--no-color", "--warnings", "off",
               "--generation-database", "none", "--request-timeout", "30", "--max-failures", "10",
               "--suppress-health-check", "all"]
    done = subprocess.run(command, cwd=tmp_path, text=True, capture_output=True, timeout=SECONDS + 120,
                          env={**os.environ, "SCHEMATHESIS_HOOKS": "openapi_hooks",
                               "PYTHONPATH": str(pathlib.Path(__file__).parent), "SLUICE_TEST_MODEL": MODEL})
    assert done.returncode == 0, (done.stdout + done.stderr)[-8000:]
