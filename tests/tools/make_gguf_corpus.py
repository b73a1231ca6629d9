#!/usr/bin/env python3
"""Makes tests/fuzz/corpus/gguf/: small files from which the fuzzer of the GGUF reader starts.

Needs: pip install gguf numpy. pypi.gguf is a copy of the golden that make_gguf_golden.py makes.
"""

import pathlib
import shutil
import struct

import gguf
import numpy as np

TESTS = pathlib.Path(__file__).resolve().parent.parent
OUT = TESTS / "fuzz" / "corpus" / "gguf"
TYPES = """F32 F16 BF16 Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q2_K Q3_K Q4_K Q5_K Q6_K IQ4_NL IQ4_XS
MXFP4""".split()


def string(text):
    return struct.pack("<Q", len(text)) + text


def header(version, num_tensors, num_entries):
    return b"GGUF" + struct.pack("<IQQ", version, num_tensors, num_entries)


def make_types():
    """One block of every tensor type."""
    writer = gguf.GGUFWriter(OUT / "types.gguf", "llama")
    rng = np.random.default_rng(3)
    for name in TYPES:
        quant_type = gguf.GGMLQuantizationType[name]
        block = rng.integers(0, 256, gguf.GGML_QUANT_SIZES[quant_type][1], dtype=np.uint8)
        if name in ("F32", "F16"):
            writer.add_tensor(name, block.view(np.float32 if name == "F32" else np.float16))
        else:
            writer.add_tensor(name, block, raw_dtype=quant_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    shutil.copy(TESTS / "gguf" / "golden" / "pypi.gguf", OUT)
    make_types()
    aligned = header(2, 1, 2) + string(b"general.alignment") + struct.pack("<II", 4, 64)
    aligned += string(b"tokenizer.ggml.tokens") + struct.pack("<IIQ", 9, 8, 3)
    aligned += string(b"a") + string(b"") + string(b"<s>")
    aligned += string(b"w") + struct.pack("<IQQIQ", 2, 2, 2, 0, 0)
    aligned += bytes(-len(aligned) % 64) + bytes(16)
    (OUT / "version2_aligned64.gguf").write_bytes(aligned)
    nested = header(3, 0, 1) + string(b"k") + struct.pack("<I", 9) + struct.pack("<IQ", 9, 1) * 8
    (OUT / "array_of_arrays.gguf").write_bytes(nested + struct.pack("<IQB", 0, 1, 0))


if __name__ == "__main__":
    main()
