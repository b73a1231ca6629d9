#!/usr/bin/env python3
"""Makes tests/gguf/golden/pypi.gguf: a small file as PyPI's `gguf` writes it, with every value type.

Needs: pip install gguf numpy. With --check FILE it reads a file that our writer made instead
(`gguf_test --gtest_filter='*PeersCheck*'` with SLUICE_GGUF_OUT=FILE) and compares it with what the
test put in.
"""

import pathlib
import sys

import gguf
import numpy as np

OUT = pathlib.Path(__file__).resolve().parent.parent / "gguf" / "golden" / "pypi.gguf"


def make():
    OUT.parent.mkdir(parents=True, exist_ok=True)
    writer = gguf.GGUFWriter(OUT, "llama")
    writer.add_uint8("t.uint8", 200)
    writer.add_int8("t.int8", -100)
    writer.add_uint16("t.uint16", 60000)
    writer.add_int16("t.int16", -30000)
    writer.add_uint32("t.uint32", 4_000_000_000)
    writer.add_int32("t.int32", -2_000_000_000)
    writer.add_uint64("t.uint64", 2**64 - 1)
    writer.add_int64("t.int64", -(2**63))
    writer.add_float32("t.float32", 0.5)
    writer.add_float64("t.float64", 1e300)
    writer.add_bool("t.bool", True)
    writer.add_string("t.string", "grüße")
    writer.add_array("t.strings", ["a", "", "日本"])
    writer.add_array("t.ints", [1, -2, 3])
    writer.add_array("t.floats", [0.25, -1.5])
    writer.add_array("t.bools", [True, False])
    rng = np.random.default_rng(5)
    values = rng.normal(0, 1, (3, 64)).astype(np.float32)
    writer.add_tensor("a.f32", values)
    writer.add_tensor("a.f16", values.astype(np.float16))
    writer.add_tensor("a.q8_0", gguf.quantize(values, gguf.GGMLQuantizationType.Q8_0),
                      raw_dtype=gguf.GGMLQuantizationType.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def check(path):
    reader = gguf.GGUFReader(path)
    read = {name: field.contents() for name, field in reader.fields.items()}
    expected = {
        "general.architecture": "llama", "u32": 4_000_000_000, "u64": 2**63, "i32": -5, "f32": 0.5,
        "flag": True, "text": "grüße", "texts": ["a", "", "日本"], "ints": [1, -2, 3],
        "floats": [0.25, -1.5],
    }
    for key, value in expected.items():
        assert read[key] == value, (key, read[key], value)
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    assert list(tensors) == ["a.f32", "a.q4_0"]
    assert tensors["a.f32"].data.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert tensors["a.q4_0"].tensor_type == gguf.GGMLQuantizationType.Q4_0
    assert tensors["a.q4_0"].data.tobytes() == bytes(range(18))
    print(f"{path}: as expected")


if __name__ == "__main__":
    if len(sys.argv) == 3 and sys.argv[1] == "--check":
        check(sys.argv[2])
    else:
        make()
