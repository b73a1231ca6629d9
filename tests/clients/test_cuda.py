"""The whole program on GPUs of the fake driver (tests/simt/fake_driver.cpp), which runs the kernels on
the CPU: what is served, where models come to lie, and what is said and done when a GPU fails."""

import json
import os
import pathlib

import pytest

from conftest import ROOT, Server, make_tiny_model, program, run_sluice

FAKE = pathlib.Path(os.environ.get("SLUICE_BIN", ROOT / "build/release/sluice")).parent
FAKE = FAKE / "tests/libfakecuda.so"
A, B = "one:tiny", "two:tiny"


def machine(text):
    return {"SLUICE_CUDA_DRIVER": str(FAKE), "SLUICE_FAKECUDA": "checks=none," + text}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    program()
    if not FAKE.exists():
        pytest.skip("libfakecuda.so is not built (no nvcc)", allow_module_level=True)
    folder = tmp_path_factory.mktemp("cuda")
    make_tiny_model(folder / "tiny.gguf")
    run_sluice("import", str(folder / "tiny.gguf"), A, home=folder)
    (folder / "tiny.gguf").write_bytes((folder / "tiny.gguf").read_bytes() + bytes(64))
    run_sluice("import", str(folder / "tiny.gguf"), B, home=folder)
    return folder


@pytest.fixture
def serve(store):
    """serve(machine, *arguments): a server on such a machine."""
    servers = []

    def start(text, *arguments):
        servers.append(Server(store, *arguments, environment=machine(text)))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


def ask(server, model=A, num_predict=12, **options):
    return server.post("/api/generate", {
        "model": model, "prompt": "Once upon a time", "stream": False, "raw": True,
        "options": {"temperature": 0, "num_predict": num_predict, "seed": 1, **options}})


def reply(server, *arguments, **options):
    status, body = ask(server, *arguments, **options)
    assert status == 200, body
    return body["response"]


def backends(server):
    return {m["name"]: m["backend"].split()[0] for m in server.status()["models"]}


def test_replies_are_the_references(serve):
    gpu, reference = serve(""), serve("", "--device", "reference")
    assert reply(gpu) == reply(reference)
    assert backends(gpu) == {A: "cuda:0"}
    body = {"model": A, "prompt": "Once upon", "max_tokens": 4, "temperature": 0, "logprobs": 3}
    mine, theirs = (s.post("/v1/completions", body)[1]["choices"][0] for s in (gpu, reference))
    assert mine["text"] == theirs["text"]
    for a, b in zip(mine["logprobs"]["token_logprobs"], theirs["logprobs"]["token_logprobs"]):
        assert abs(a - b) < 0.02
    body = {"model": A, "input": ["a", "some words more"]}
    for a, b in zip(*(s.post("/api/embed", body)[1]["embeddings"] for s in (gpu, reference))):
        assert sum(x * y for x, y in zip(a, b)) > 0.999


def test_sampled_replies_are_reproducible_and_of_their_format(serve):
    server = serve("")
    assert reply(server, temperature=0.9) == reply(server, temperature=0.9)
    status, body = server.post("/api/generate", {
        "model": A, "prompt": "x", "stream": False, "raw": True, "options": {"num_predict": 40},
        "format": {"type": "array", "items": {"enum": [1, 2]}, "minItems": 2, "maxItems": 2}})
    assert status == 200 and json.loads(body["response"]) in ([1, 1], [1, 2], [2, 1], [2, 2])


def test_ps_tells_what_lies_on_the_gpu(serve, store):
    server = serve("devices=2", "--device", "cuda:1")
    reply(server, num_predict=1)
    (model,) = server.get("/api/ps")["models"]
    assert model["size_vram"] == model["size"] > 0
    assert backends(server) == {A: "cuda:1"}
    assert server.status()["used_memory_bytes"] == 0  # of the host's
    shown = run_sluice("ps", home=store, environment={"SLUICE_HOST": server.url}).stdout
    assert "100% GPU" in shown


def parts(server):
    return [(p["device"], p["layers"]) for m in server.status()["models"] for p in m.get("parts", [])]


@pytest.mark.parametrize("text, arguments, where", [
    ("", ["--gpu-layers", "1"], [("cpu", 1), ("cuda:0", 1)]),
    ("devices=2", ["--gpu-layers", "1", "--device", "cuda:1"], [("cpu", 1), ("cuda:1", 1)])])
def test_layers_split_over_gpu_and_cpu(serve, store, text, arguments, where):
    split = serve(text, *arguments)
    assert reply(split) == reply(serve("", "--device", "reference"))
    assert parts(split) == where
    (model,) = split.status()["models"]
    for part in ("weights", "cache", "workspace"):
        assert sum(p[part] for p in model["parts"]) == model["memory"][part]
    (shown,) = split.get("/api/ps")["models"]
    assert 0 < shown["size_vram"] < shown["size"]
    environment = {"SLUICE_HOST": split.url}
    told = run_sluice("ps", home=store, environment=environment).stdout
    assert f"CPU/GPU, layers: 1 cpu, 1 {where[1][0]}" in told
    told = run_sluice("top", "--once", home=store, environment=environment).stdout
    assert "(1 layer) + cpu" in " ".join(told.split())


def test_num_gpu_says_how_a_model_is_loaded(serve):
    server = serve("")
    for number, where in ((1, [("cpu", 1), ("cuda:0", 1)]), (0, []), (99, []), (-1, [])):
        reply(server, num_gpu=number)
        assert parts(server) == where
        if not where:
            assert backends(server) == {A: "cpu" if number == 0 else "cuda:0"}
        reply(server, num_gpu=5)  # it is loaded: no second time
        assert parts(server) == where
        server.post("/api/generate", {"model": A, "keep_alive": 0})
        while server.status()["models"]:
            pass


def test_a_model_that_does_not_fit_is_split_as_planned(serve, store):
    # The memory that another process leaves is just too little for the whole model.
    whole = serve("memory=64", "--device", "cuda:0")
    reply(whole, num_predict=1)
    memory = whole.status()["models"][0]["memory"]
    # It would be content with the cache of one conversation instead of eight.
    needed = (memory["on_device"] - memory["cache"] * 7 // 8) // 1024
    for kib in range(needed, needed // 2, -64):
        text = f"memory=64,used-kib={64 * 1024 - kib}"
        plan = json.loads(
            run_sluice("plan", A, "--json", home=store, environment=machine(text)).stdout)
        if len(plan["stages"]) == 2:
            break
    assert [s["device"] for s in plan["stages"]] == ["cuda:0", "cpu"]
    server = serve(text)
    assert reply(server) == reply(whole)
    assert parts(server) == [("cpu", 1), ("cuda:0", 1)]
    on_gpu = server.status()["models"][0]["memory"]["on_device"]
    assert on_gpu <= plan["stages"][0]["budget_bytes"] * 1.02
    assert "does not fit on cuda:0 alone" in "".join(server.log)
    told = run_sluice("plan", A, home=store, environment=machine(text)).stdout
    assert "cuda:0      1 of 2 layers" in told and "cpu         1 of 2 layers" in told


def test_what_cannot_be_split_so_is_refused(serve, store):
    for wrong, why in ((["--device", "cpu", "--gpu-layers", "1"], "the device is cpu"),
                       (["--device", "cpu,cuda:0"], "comes last"), (["--gpu-layers", "x"], "x"),
                       (["--gpu-layers", "-1"], "-1"), (["--device", "cuda:0,cuda:0"], "twice")):
        done = run_sluice("serve", "--port", "0", *wrong, home=store, check=False)
        assert done.returncode != 0 and why in done.stderr
    server = serve("memory=64,used=64", "--gpu-layers", "2")
    status, body = ask(server)
    assert status >= 400 and "not enough memory for 2 of the model's 2 layers" in body["error"]
    status, body = ask(server, num_gpu="all")
    assert status == 400


def test_after_a_fault_a_split_model_is_loaded_again(serve):
    server = serve("fail-kernel=150", "--gpu-layers", "1")
    status, body = ask(server)
    assert status == 500 and "CUDA_ERROR_LAUNCH_FAILED" in body["error"]
    reply(server)
    assert parts(server) == [("cpu", 1), ("cuda:0", 1)]


def test_version_names_the_gpus(store):
    said = run_sluice("version", home=store, environment=machine("devices=2,memory=512")).stdout
    assert "cuda:0 Emulated GPU 0" in said and "cuda:1 Emulated GPU 1" in said
    said = run_sluice("version", home=store, environment=machine("no-start")).stdout
    assert "no GPU can be used: there is none, or CUDA_VISIBLE_DEVICES hides it" in said


def visible(devices, text="devices=3"):
    return {**machine(text), "CUDA_VISIBLE_DEVICES": devices}


@pytest.mark.parametrize("devices, seen", [
    ("2", [2]), ("2,0", [2, 0]), ("GPU-1", [1]), ("1,7,0", [1]), ("", []), ("-1", []), ("junk", [])])
def test_only_visible_gpus_are_there(store, devices, seen):
    said = run_sluice("version", home=store, environment=visible(devices)).stdout
    for index, gpu in enumerate(seen):
        assert f"cuda:{index} Emulated GPU {gpu}," in said
    assert said.count("Emulated GPU") == len(seen)
    assert seen or "CUDA_VISIBLE_DEVICES hides it" in said


def test_models_run_on_visible_gpus(store):
    server = Server(store, environment=visible("2", "devices=3,used-2=100"))
    try:
        reply(server, num_predict=2)
        assert server.status()["models"][0]["backend"].startswith("cuda:0 Emulated GPU 2")
    finally:
        server.stop()


@pytest.mark.parametrize("text, why", [
    ("no-start", "CUDA_VISIBLE_DEVICES"), ("version=11080", "CUDA 11.8, needed is 12.0"),
    ("capability=70", "too old"), ("no-binary", "built without kernels for the GPU"),
    ("memory=64,used=64", "not enough memory"), ("fail-alloc=2", "not enough memory"),
    ("fail-kernel=3", "CUDA_ERROR_LAUNCH_FAILED")])
def test_without_a_gpu_that_works_models_run_on_the_cpu(serve, text, why):
    server = serve(text)
    reply(server, num_predict=2)
    assert backends(server) == {A: "cpu"}
    assert why in "".join(server.log)


@pytest.mark.parametrize("text, why", [
    ("no-start", "CUDA_VISIBLE_DEVICES"), ("memory=64,used=64", "not enough memory"),
    ("fail-launch=3", "CUDA_ERROR_LAUNCH_FAILED")])
def test_a_gpu_asked_for_by_name_is_not_replaced(serve, text, why):
    server = serve(text, "--device", "cuda:0")
    status, body = ask(server)
    assert status >= 400 and why in body["error"]
    assert server.status()["models"] == []
    if text.startswith("fail"):
        reply(server)  # that failed once


def test_a_device_that_there_cannot_be(store):
    done = run_sluice("serve", "--port", "0", "--device", "abacus", home=store, check=False)
    assert done.returncode != 0 and "there is no device 'abacus'" in done.stderr


def test_after_a_fault_the_model_is_loaded_again_once(serve):
    expected = reply(serve("", "--device", "cuda:0"))
    server = serve("fail-kernel=200", "--device", "cuda:0")
    status, body = ask(server)
    assert status == 500 and "CUDA_ERROR_LAUNCH_FAILED" in body["error"]
    assert reply(server) == expected
    log = "".join(server.log)
    assert log.count(f"loaded {A} in") == 2 and "its device has failed" in log


@pytest.mark.parametrize("arguments, last", [
    (["--device", "cuda:0"], 500), (["--gpu-layers", "1"], 200), ([], 200)])
def test_a_gpu_that_stays_lost(serve, arguments, last):
    server = serve("fail-kernel=150,for-good", *arguments)
    statuses = [ask(server)[0] for _ in range(4)]
    assert statuses[0] == 500 and statuses[-1] == last, statuses
    if last == 200:
        assert backends(server) == {A: "cpu"}
    else:
        assert "CUDA_ERROR_LAUNCH_FAILED" in ask(server)[1]["error"]


def test_all_models_of_a_lost_gpu_come_back(serve):
    server = serve("fail-kernel=400")
    statuses = [ask(server, model=m, num_predict=8)[0] for _ in range(3) for m in (A, B)]
    assert set(statuses) <= {200, 500, 503} and statuses[-2:] == [200, 200]
    assert 0 < sum(s != 200 for s in statuses) <= 2
    assert backends(server) == {A: "cuda:0", B: "cuda:0"}

