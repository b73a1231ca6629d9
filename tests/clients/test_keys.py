"""API keys: made on the command line, asked for by a running server, counted."""

import http.client
import json
import os
import subprocess
import time

import anthropic
import ollama
import openai
import pytest

from conftest import MODEL, Server, clean_environment, program, run_sluice

QUESTION = [{"role": "user", "content": "Name three colours."}]


@pytest.fixture(scope="module")
def keyed_home(home, tmp_path_factory):
    """A home of its own, so that no other server wants these keys; the models are shared."""
    folder = tmp_path_factory.mktemp("keyed")
    (folder / "models").symlink_to(home / "models")
    return folder


def make_key(home, *arguments):
    return run_sluice("key", "add", *arguments, home=home).stdout.strip()


@pytest.fixture(scope="module")
def keys(keyed_home):
    return {"infer": make_key(keyed_home, "infer"),
            "ops": make_key(keyed_home, "ops", "--scope", "all"),
            "metrics": make_key(keyed_home, "metrics", "--scope", "metrics")}


@pytest.fixture(scope="module")
def keyed(keyed_home, keys):
    server = Server(keyed_home)
    yield server
    assert server.stop() == 0


def ask(server, path, key=None, body=None):
    """Status, headers and body."""
    connection = http.client.HTTPConnection(server.host, server.port, timeout=60)
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    connection.request("POST" if body else "GET", path, json.dumps(body) if body else None, headers)
    reply = connection.getresponse()
    return reply.status, reply.headers, json.loads(reply.read() or b"null")


def wait_for_status(server, path, key, status):
    """Keys that others make or revoke hold within half a second."""
    deadline = time.monotonic() + 20
    while (got := ask(server, path, key)[0]) != status:
        assert time.monotonic() < deadline, f"{got} instead of {status}"
        time.sleep(0.05)


def run_client(server, home, key, *arguments):
    env = dict(clean_environment(home), SLUICE_HOST=server.url, SLUICE_API_KEY=key)
    return subprocess.run([program(), *arguments], env=env, capture_output=True, text=True,
                          stdin=subprocess.DEVNULL, timeout=120)


def test_official_clients_send_their_keys(keyed, keys):
    client = openai.OpenAI(base_url=keyed.url + "/v1", api_key=keys["infer"], max_retries=0)
    assert client.chat.completions.create(model=MODEL, messages=QUESTION, max_tokens=3).choices
    client = anthropic.Anthropic(base_url=keyed.url, api_key=keys["infer"], max_retries=0)
    assert client.messages.create(model=MODEL, messages=QUESTION, max_tokens=3).content
    client = anthropic.Anthropic(base_url=keyed.url, auth_token=keys["infer"], max_retries=0)
    assert client.messages.create(model=MODEL, messages=QUESTION, max_tokens=3).content
    client = ollama.Client(keyed.url, headers={"Authorization": f"Bearer {keys['infer']}"})
    assert client.chat(MODEL, QUESTION, options={"num_predict": 3}).message


def test_official_clients_know_the_refusals(keyed, keys):
    for key, openai_error, anthropic_error, status in (
            ("any", openai.AuthenticationError, anthropic.AuthenticationError, 401),
            (keys["metrics"], openai.PermissionDeniedError, anthropic.PermissionDeniedError, 403)):
        client = openai.OpenAI(base_url=keyed.url + "/v1", api_key=key, max_retries=0)
        with pytest.raises(openai_error):
            client.chat.completions.create(model=MODEL, messages=QUESTION)
        client = anthropic.Anthropic(base_url=keyed.url, api_key=key, max_retries=0)
        with pytest.raises(anthropic_error):
            client.messages.create(model=MODEL, messages=QUESTION, max_tokens=3)
        client = ollama.Client(keyed.url, headers={"Authorization": f"Bearer {key}"})
        with pytest.raises(ollama.ResponseError) as caught:
            client.chat(MODEL, QUESTION)
        assert caught.value.status_code == status and "key" in caught.value.error


def test_our_own_commands_take_the_key(keyed, keyed_home, keys):
    for arguments in (["list"], ["ps"], ["show", MODEL], ["top", "--once"],
                      ["run", MODEL, "hi", "--option", "num_predict=3"], ["usage"],
                      ["loadtest", "--model", MODEL, "--words", "5", "--max-tokens", "3",
                       "--requests", "1", "--test", "output"]):
        done = run_client(keyed, keyed_home, keys["ops"], *arguments)
        assert done.returncode == 0, (arguments, done.stderr)
        done = run_client(keyed, keyed_home, "", *arguments)
        assert done.returncode == 1, arguments
        assert "SLUICE_API_KEY" in done.stderr, (arguments, done.stderr)
    done = run_client(keyed, keyed_home, keys["infer"], "rm", MODEL)
    assert done.returncode == 1 and "manage" in done.stderr


def test_a_key_comes_and_goes_while_the_server_runs(keyed, keyed_home):
    key = make_key(keyed_home, "guest")
    wait_for_status(keyed, "/api/tags", key, 200)
    listed = run_sluice("key", "list", home=keyed_home).stdout
    assert "guest" in listed and key[:13] in listed and key not in listed
    assert "revoked 'guest'" in run_sluice("key", "revoke", "guest", home=keyed_home).stdout
    wait_for_status(keyed, "/api/tags", key, 401)
    assert "guest" not in run_sluice("key", "list", home=keyed_home).stdout
    assert key not in "".join(keyed.log)


def test_keys_are_kept_as_digests_for_their_owner_alone(keyed, keyed_home, keys):
    folder = keyed_home / ".sluice"
    files = sorted(folder.glob("keys.db*"))
    assert files
    for file in files:
        assert file.stat().st_mode & 0o077 == 0, file
        text = file.read_bytes()
        for key in keys.values():
            assert key.encode() not in text and key[13:].encode() not in text


def test_limits_are_429_with_the_time_to_wait(keyed, keyed_home):
    key = make_key(keyed_home, "slow", "--requests-per-minute", "2")
    wait_for_status(keyed, "/api/tags", key, 200)
    assert ask(keyed, "/api/tags", key)[0] == 200
    status, headers, body = ask(keyed, "/api/tags", key)
    assert status == 429 and "2 requests a minute" in body["error"]
    assert 1 <= int(headers["Retry-After"]) <= 30
    with pytest.raises(openai.RateLimitError):
        client = openai.OpenAI(base_url=keyed.url + "/v1", api_key=key, max_retries=0)
        client.models.list()


def test_a_budget_of_tokens_ends(keyed, keyed_home):
    key = make_key(keyed_home, "poor", "--tokens-per-day", "20")
    wait_for_status(keyed, "/api/tags", key, 200)
    body = {"model": MODEL, "prompt": "Tell a story.", "stream": False,
            "options": {"num_predict": 20}, "ignore_eos": True}
    status, _, reply = ask(keyed, "/api/generate", key, body)
    assert status == 200
    status, headers, error = ask(keyed, "/api/generate", key, body)
    assert status == 429 and "20 tokens" in error["error"]
    assert 0 < int(headers["Retry-After"]) <= 86400
    assert ask(keyed, "/api/tags", key)[0] == 200
    deadline = time.monotonic() + 20
    while True:  # another process reads what the server writes every half second
        listed = run_sluice("usage", "--json", home=keyed_home).stdout
        used = [item for item in json.loads(listed)["usage"] if item["key"] == "poor"]
        if (used and used[0]["output_tokens"] and used[0]["refused"]) or time.monotonic() > deadline:
            break
        time.sleep(0.1)
    assert used[0]["output_tokens"] == reply["eval_count"]
    assert used[0]["prompt_tokens"] == reply["prompt_eval_count"]
    assert used[0]["refused"] == 1


def test_a_stream_that_is_left_is_counted(keyed, keyed_home, keys):
    key = make_key(keyed_home, "leaver")
    wait_for_status(keyed, "/api/tags", key, 200)
    client = ollama.Client(keyed.url, headers={"Authorization": f"Bearer {key}"})
    stream = client.generate(MODEL, "Tell a story.", stream=True, options={"num_predict": 100_000})
    next(stream)
    stream.close()
    deadline = time.monotonic() + 20
    while True:
        usage = ask(keyed, "/api/sluice/usage?days=1", keys["metrics"])[2]["usage"]
        used = [item for item in usage if item["key"] == "leaver"]
        if used and used[0]["output_tokens"] > 0 and used[0]["prompt_tokens"] > 0:
            break
        assert time.monotonic() < deadline, usage
        time.sleep(0.05)


def test_responses_are_those_of_their_key(keyed, keys):
    def client(name):
        return openai.OpenAI(base_url=keyed.url + "/v1", api_key=keys[name], max_retries=0)
    own = client("infer").responses.create(model=MODEL, input="hi", max_output_tokens=3)
    assert client("infer").responses.retrieve(own.id).id == own.id
    for ask in (lambda: client("ops").responses.retrieve(own.id),
                lambda: client("ops").responses.delete(own.id)):
        with pytest.raises(openai.NotFoundError):
            ask()
    with pytest.raises(openai.BadRequestError):
        client("ops").responses.create(model=MODEL, input="hi", previous_response_id=own.id)


def test_beyond_this_machine(keyed_home, keys, tmp_path):
    """Listens everywhere when there are keys, or when the owner says so."""
    del keys
    everywhere = Server(keyed_home, "--host", "0.0.0.0:0")
    everywhere.host = "127.0.0.1"
    try:
        assert ask(everywhere, "/api/tags")[0] == 401
    finally:
        everywhere.stop()
    (tmp_path / "models").symlink_to(keyed_home / "models")
    open_server = Server(tmp_path, "--host", "0.0.0.0:0", "--allow-anonymous=infer")
    open_server.host = "127.0.0.1"
    try:
        assert ask(open_server, "/api/tags")[0] == 200
        assert ask(open_server, "/api/sluice/status")[0] == 401
        assert ask(open_server, "/api/pull", None, {"model": "x"})[0] == 401
    finally:
        open_server.stop()


def test_a_damaged_file_of_keys_is_told_at_the_start(tmp_path):
    (tmp_path / "keys.db").write_bytes(b"no database, but long enough to be looked at" * 100)
    env = dict(clean_environment(tmp_path), SLUICE_KEYS=str(tmp_path / "keys.db"))
    done = subprocess.run([program(), "serve", "--port", "0"], env=env, capture_output=True,
                          text=True, timeout=60, stdin=subprocess.DEVNULL)
    assert done.returncode == 1 and "keys.db" in done.stderr


def test_the_last_key_that_goes_is_told(tmp_path):
    make_key(tmp_path, "only")
    done = run_sluice("key", "revoke", "only", home=tmp_path)
    assert "last key" in done.stderr
    assert os.path.exists(tmp_path / ".sluice/keys.db")
