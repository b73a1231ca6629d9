#!/usr/bin/env python3
"""Makes tests/quant/golden/: what PyPI's `gguf` decodes and encodes, for the tests of the codecs.

Needs: pip install gguf numpy. Run from anywhere; the output is the same every time.

decode_TYPE.bin: u32 block count, the blocks, then their values as f32. Blocks are random bytes,
    their scales a mix of ordinary halves and of zeros, denormals, infinities and NaNs.
encode_TYPE.bin: u32 block count, values as f32, then the blocks they encode to.
"""

import pathlib

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type

OUT = pathlib.Path(__file__).resolve().parent.parent / "quant" / "golden"

# Where the halves that scale a block lie in it.
HALF_OFFSETS = {
    Type.Q4_0: [0], Type.Q4_1: [0, 2], Type.Q5_0: [0], Type.Q5_1: [0, 2], Type.Q8_0: [0],
    Type.Q2_K: [80, 82], Type.Q3_K: [108], Type.Q4_K: [0, 2], Type.Q5_K: [0, 2],
    Type.Q6_K: [208], Type.IQ4_NL: [0], Type.IQ4_XS: [0], Type.MXFP4: [],
    Type.F32: [], Type.F16: [], Type.BF16: [],
}
ENCODED = [Type.F16, Type.BF16, Type.Q4_0, Type.Q4_1, Type.Q5_0, Type.Q5_1, Type.Q8_0]
SPECIAL_HALVES = [0x0000, 0x8000, 0x0001, 0x83FF, 0x0400, 0x7BFF, 0xFBFF, 0x7C00, 0xFC00, 0x7E00]
SPECIAL_WORDS = [0x00000000, 0x80000000, 0x00000001, 0x7F800000, 0xFF800000, 0x7FC00000]


def blocks_of(quant_type, count, rng):
    _, block_bytes = gguf.GGML_QUANT_SIZES[quant_type]
    blocks = rng.integers(0, 256, (count, block_bytes), dtype=np.uint8)
    for offset in HALF_OFFSETS[quant_type]:
        halves = rng.normal(0, 0.01, count).astype(np.float16).view(np.uint16)
        halves[: len(SPECIAL_HALVES)] = rng.permutation(SPECIAL_HALVES)
        blocks[:, offset : offset + 2] = halves.reshape(-1, 1).view(np.uint8)
    if quant_type == Type.MXFP4:  # exponents at both ends
        blocks[:6, 0] = [0, 1, 2, 253, 254, 255]
    return blocks


def decode(quant_type, blocks):
    # numpy's own conversions say what halves and floats mean.
    if quant_type == Type.F16:
        return blocks.reshape(-1).view(np.float16).astype(np.float32)
    return gguf.dequantize(blocks.reshape(-1), quant_type).astype(np.float32)


def values_to_encode(block_elements, count, rng):
    values = rng.normal(0, 1, (count, block_elements)).astype(np.float32)
    values *= np.float32(10) ** rng.integers(-6, 3, (count, 1)).astype(np.float32)
    values[0] = 0
    values[1] = 2.5  # all the same
    values[2] = np.arange(block_elements) - block_elements // 2
    values[3] = -np.abs(values[3])
    return values


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    for quant_type in HALF_OFFSETS:
        rng = np.random.default_rng(int(quant_type))
        block_elements, _ = gguf.GGML_QUANT_SIZES[quant_type]
        count = {1: 512, 32: 32, 256: 14}[block_elements]
        blocks = blocks_of(quant_type, count, rng)
        if quant_type == Type.F32:
            blocks[:6] = np.array(SPECIAL_WORDS, np.uint32).reshape(-1, 1).view(np.uint8)
        with np.errstate(all="ignore"):
            values = decode(quant_type, blocks)
        path = OUT / f"decode_{quant_type.name}.bin"
        path.write_bytes(np.uint32(count).tobytes() + blocks.tobytes() + values.tobytes())
    for quant_type in ENCODED:
        rng = np.random.default_rng(1000 + int(quant_type))
        block_elements, _ = gguf.GGML_QUANT_SIZES[quant_type]
        count = 512 if block_elements == 1 else 24
        values = values_to_encode(max(block_elements, 1), count, rng)
        with np.errstate(all="ignore"):
            blocks = np.concatenate([gguf.quantize(row, quant_type).view(np.uint8) for row in values])
        path = OUT / f"encode_{quant_type.name}.bin"
        path.write_bytes(np.uint32(count).tobytes() + values.tobytes() + blocks.tobytes())


if __name__ == "__main__":
    main()
