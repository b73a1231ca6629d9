"""`sluice create` and POST /api/create: from a model, from files, with a Modelfile, quantized."""
import hashlib
import json
import pathlib
import shutil
import urllib.request

import pytest

from conftest import MODEL, Server, make_tiny_model, run_sluice


def create(server, body):
    """Status and the lines that came."""
    request = urllib.request.Request(server.url + "/api/create", data=json.dumps(body).encode())
    with urllib.request.urlopen(request, timeout=120) as reply:
        return [json.loads(line) for line in reply.read().splitlines()]


# A store and a server of its own: other tests know what is in theirs.
@pytest.fixture(scope="module")
def home(home, tmp_path_factory):
    own = tmp_path_factory.mktemp("create_home")
    shutil.copytree(home / "models", own / "models")
    return own


@pytest.fixture(scope="module")
def server(home):
    server = Server(home, "--log-level", "debug")
    yield server
    code = server.stop()
    assert code == 0, "".join(server.log)[-5000:]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    path = tmp_path_factory.mktemp("create") / "tiny.gguf"
    make_tiny_model(path)
    return path


def test_a_model_on_a_model_keeps_its_weights(server):
    lines = create(server, {"model": "brief", "from": MODEL, "system": "Be brief.",
                            "parameters": {"temperature": 0.5, "stop": ["x"]},
                            "messages": [{"role": "user", "content": "hi"}], "license": "free"})
    assert lines[-1] == {"status": "success"}
    status, shown = server.post("/api/show", {"model": "brief"})
    assert status == 200 and shown["system"] == "Be brief." and shown["license"] == "free"
    assert "temperature" in shown["parameters"]
    assert "MESSAGE user hi\n" in shown["modelfile"]
    assert shown["messages"] == [{"role": "user", "content": "hi"}]


def test_blobs_become_a_quantized_model_that_answers(server, tiny):
    data = tiny.read_bytes()
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    server.post("/api/blobs/" + digest, data)
    lines = create(server, {"model": "small", "files": {"tiny.gguf": digest},
                            "quantize": "Q8_0"})
    assert lines[-1] == {"status": "success"}
    assert any(line["status"].startswith("quantizing F") for line in lines), lines
    status, shown = server.post("/api/show", {"model": "small"})
    assert shown["details"]["quantization_level"] == "Q8_0"
    status, reply = server.post("/api/generate", {"model": "small", "prompt": "a", "stream": False,
                                                  "options": {"num_predict": 3}})
    assert status == 200 and reply["done"]


def test_without_stream_there_is_the_last_line(server):
    status, reply = server.post("/api/create", {"model": "one", "from": MODEL, "stream": False})
    assert (status, reply) == (200, {"status": "success"})


@pytest.mark.parametrize("body, word", [
    ({"model": "x"}, "neither 'from' or 'files' was specified"),
    ({"model": "x", "files": {"/etc/passwd": "sha256:" + "0" * 64}}, "file path must be relative"),
    ({"model": "x", "files": {"../a.gguf": "sha256:" + "0" * 64}}, "file path must be relative"),
    ({"model": "x", "files": {"a.gguf": "sha256:zz"}}, "invalid digest format"),
    ({"model": "x", "files": {"a.gguf": "sha256:" + "0" * 64}}, "is not there"),
    ({"model": "../x", "from": MODEL}, "invalid model name"),
    ({"model": "x", "from": MODEL, "parameters": {"warmth": 1}}, "unknown parameter 'warmth'"),
    ({"model": "x", "from": MODEL, "messages": [{"role": "robot"}]}, "message role"),
    ({"model": "x", "from": MODEL, "adapters": {"a": "b"}}, "adapters are not supported"),
    ({"model": "x", "from": MODEL, "license": [7]}, "license"),
    ({"model": "x", "from": MODEL, "quantize": "q1_z", "stream": False}, "quantization type"),
])
def test_what_cannot_be_created_is_said(server, body, word):
    status, reply = server.post("/api/create", body)
    assert status >= 400 and word in reply["error"], reply
    assert server.post("/api/show", {"model": "x"})[0] in (400, 404)


def test_a_modelfile_makes_a_model_and_show_gives_it_back(home, tiny):
    folder = pathlib.Path(tiny).parent
    (folder / "Modelfile").write_text(
        "FROM ./tiny.gguf\nSYSTEM \"\"\"Two\nlines\"\"\"\nPARAMETER num_ctx 64\n"
        "MESSAGE assistant yes\n")
    run_sluice("create", "filed", "-f", str(folder / "Modelfile"), "-q", "q4_0", home=home)
    printed = run_sluice("show", "--modelfile", "filed", home=home).stdout
    assert "SYSTEM \"\"\"Two\nlines\"\"\"" in printed and "PARAMETER num_ctx 64" in printed
    (folder / "again").write_text(printed)
    run_sluice("create", "filed2", "-f", str(folder / "again"), home=home)
    second = run_sluice("show", "--modelfile", "filed2", home=home).stdout
    assert second.splitlines()[4:] == printed.splitlines()[4:]
    tensors = run_sluice("show", "--tensors", "filed", home=home).stdout
    assert "Q4_0" in tensors or "Q8_0" in tensors


def test_what_a_modelfile_gets_wrong_is_said(home, tmp_path):
    for text, word in [("SYSTEM x", "no FROM line"), ("FROM ./absent.gguf", "there is no"),
                       ("FROM x\nADAPTER y", "ADAPTER is not supported"),
                       (f"FROM {MODEL}\nPARAMETER warmth 1", "unknown parameter 'warmth'")]:
        (tmp_path / "Modelfile").write_text(text)
        done = run_sluice("create", "bad", "-f", str(tmp_path / "Modelfile"), home=home,
                          check=False)
        assert done.returncode != 0 and word in done.stderr, done.stderr
    done = run_sluice("create", "bad", "-f", "/absent", home=home, check=False)
    assert "Modelfile wasn't found" in done.stderr


def elsewhere(server):
    return {"SLUICE_HOST": server.url}


def test_a_server_elsewhere_makes_the_model_of_what_is_sent(server, tiny, tmp_path):
    """The command's own store stays empty: files go to the server, those that are there do not."""
    folder = pathlib.Path(tiny).parent
    (folder / "Modelfile").write_text(
        "FROM ./tiny.gguf\nSYSTEM Be brief.\nPARAMETER stop a\nPARAMETER stop b\nLICENSE free\n"
        "TEMPLATE \"{{ .System }}|{{ .Prompt }}\"\nMESSAGE user hi\nMESSAGE assistant yes\n")
    arguments = ["-f", str(folder / "Modelfile"), "-q", "q8_0"]
    done = run_sluice("create", "far", *arguments, home=tmp_path, environment=elsewhere(server))
    assert "hashing tiny.gguf" in done.stderr and "success" in done.stderr
    assert not (tmp_path / "models").exists()
    _, shown = server.post("/api/show", {"model": "far"})
    assert shown["system"] == "Be brief." and shown["template"] == "{{ .System }}|{{ .Prompt }}"
    assert shown["license"] == "free" and shown["parameters"].count("stop") == 2
    assert [m["content"] for m in shown["messages"]] == ["hi", "yes"]
    assert shown["details"]["quantization_level"] == "Q8_0"
    again = run_sluice("create", "far2", *arguments, home=tmp_path, environment=elsewhere(server))
    assert "sending" not in again.stderr
    digests = {m["name"]: m["digest"] for m in server.get("/api/tags")["models"]}
    assert digests["far:latest"] == digests["far2:latest"]
    (folder / "on").write_text(f"FROM {MODEL}\nSYSTEM far\n")  # a model that is there alone
    run_sluice("create", "far3", "-f", str(folder / "on"), home=tmp_path, environment=elsewhere(server))
    assert server.post("/api/show", {"model": "far3"})[1]["system"] == "far"


def test_what_a_server_elsewhere_refuses_is_said(server, tiny, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "model.gguf").write_bytes(b"GGUF, it says")
    (folder / "Modelfile").write_text("FROM ./model.gguf\n")
    done = run_sluice("create", "bad", "-f", str(folder / "Modelfile"), home=tmp_path, check=False,
                      environment=elsewhere(server))
    assert done.returncode == 1 and "Error: " in done.stderr, done.stderr
    done = run_sluice("create", "bad", "-f", str(folder / "Modelfile"), home=tmp_path, check=False,
                      environment={"SLUICE_HOST": "http://192.0.2.1:9"})
    assert done.returncode == 1 and "no server answers" in done.stderr, done.stderr
    # On this machine none need run.
    (folder / "Modelfile").write_text(f"FROM {tiny}\n")
    run_sluice("create", "near", "-f", str(folder / "Modelfile"), home=tmp_path,
               environment={"SLUICE_HOST": "127.0.0.1:9"})
    assert (tmp_path / "models").exists()


def split(path, folder):
    """The model in parts, as gguf's own writer cuts them."""
    import gguf

    reader = gguf.GGUFReader(path)
    writer = gguf.GGUFWriter(str(folder / "parts.gguf"), "llama", split_max_tensors=5)
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name == "general.architecture":
            continue
        sub_type = field.types[1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(name, field.contents(), field.types[0], sub_type)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return sorted(folder.glob("*.gguf"))


def test_the_parts_of_a_model_become_one(tiny, tmp_path):
    (tmp_path / "parts").mkdir()
    parts = split(tiny, tmp_path / "parts")
    assert len(parts) > 2 and parts[0].name.startswith("parts-00001-of-0000")
    reply = {}
    for name, text in {"whole": f"FROM {tiny}", "folder": "FROM ./parts",
                       "lines": "\n".join(f"FROM {part}" for part in reversed(parts))}.items():
        (tmp_path / "Modelfile").write_text(text + "\nPARAMETER seed 1\n")
        done = run_sluice("create", name, "-f", str(tmp_path / "Modelfile"), home=tmp_path)
        assert "success" in done.stdout + done.stderr
        reply[name] = run_sluice("run", name, "Hello", "--num-predict", "8", home=tmp_path).stdout
    assert reply["folder"] == reply["lines"] == reply["whole"]
    (tmp_path / "Modelfile").write_text(f"FROM {parts[0]}\n")
    for command in (["create", "one", "-f", str(tmp_path / "Modelfile")], ["run", str(parts[1]), "x"],
                    ["import", str(parts[0]), "one"]):
        done = run_sluice(*command, home=tmp_path, check=False)
        assert done.returncode == 1 and f"one of the {len(parts)} parts" in done.stderr, done.stderr
