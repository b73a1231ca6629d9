#!/usr/bin/env python3
"""Makes a synthetic GGUF model: random valid blocks in the shape and type asked for.

    make_model.py OUT.gguf --shape tiny|tiny-k|llama-1b|... --type Q4_0|Q4_K_M|F16|... [--seed N]
                  [--vocab VOCAB.gguf | --words FILE] [--chat-template FILE] [--context N]
                  [--untied] [--fills]

It says nothing sensible, but it loads, runs at the speed of the real thing and keeps its activations
in range: weights have mean 0 and a standard deviation of 0.9 / sqrt(columns). The same arguments
give the same file. Shapes other than tiny take their tokenizer from a vocabulary GGUF file.

Needs: pip install gguf numpy.
"""

import argparse
import math
import pathlib
from dataclasses import dataclass

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type


@dataclass
class Shape:
    layers: int
    width: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn: int
    context: int
    rope_base: float
    vocab: int = 0  # 0: as many as the vocabulary has
    rope_factor: float = 0  # Llama 3.1's scaling; 0: none
    tied: bool = True


SHAPES = {
    "tiny": Shape(2, 64, 4, 2, 16, 128, 512, 10000.0),
    "tiny-k": Shape(2, 256, 4, 2, 64, 512, 512, 10000.0),  # wide enough for blocks of 256
    "llama-1b": Shape(16, 2048, 32, 8, 64, 8192, 131072, 500000.0, 128256, 32.0),
    "llama-3b": Shape(28, 3072, 24, 8, 128, 8192, 131072, 500000.0, 128256, 32.0),
    "llama-8b": Shape(32, 4096, 32, 8, 128, 14336, 131072, 500000.0, 128256, 8.0, tied=False),
}

# File types: (number in general.file_type, type of most tensors).
FILE_TYPES = {
    "F32": (0, Type.F32), "F16": (1, Type.F16), "BF16": (32, Type.BF16), "Q4_0": (2, Type.Q4_0),
    "Q4_1": (3, Type.Q4_1), "Q5_0": (8, Type.Q5_0), "Q5_1": (9, Type.Q5_1), "Q8_0": (7, Type.Q8_0),
    "Q2_K": (10, Type.Q2_K), "Q3_K": (12, Type.Q3_K), "Q4_K_S": (14, Type.Q4_K),
    "Q4_K_M": (15, Type.Q4_K), "Q5_K_S": (16, Type.Q5_K), "Q5_K_M": (17, Type.Q5_K),
    "Q6_K": (18, Type.Q6_K), "IQ4_NL": (25, Type.IQ4_NL), "IQ4_XS": (30, Type.IQ4_XS),
    "MXFP4": (38, Type.MXFP4),
}
FLOATS = (Type.F32, Type.F16, Type.BF16)

# What a row that is no multiple of 256 takes instead, as llama.cpp chooses.
FALLBACK = {
    Type.Q2_K: Type.IQ4_NL, Type.Q3_K: Type.IQ4_NL, Type.IQ4_XS: Type.IQ4_NL,
    Type.Q4_K: Type.Q5_0, Type.Q5_K: Type.Q5_1, Type.Q6_K: Type.Q8_0,
}

# Halves that scale a block: (offset, multiple of d). Those after the first take the mean away.
SCALES = {
    Type.Q4_0: [(0, 1)], Type.Q4_1: [(0, 1), (2, -7.5)], Type.Q5_0: [(0, 1)],
    Type.Q5_1: [(0, 1), (2, -15.5)], Type.Q8_0: [(0, 1)], Type.Q2_K: [(80, 1), (82, 1.5)],
    Type.Q3_K: [(108, 1)], Type.Q4_K: [(0, 1), (2, 7.5)], Type.Q5_K: [(0, 1), (2, 15.5)],
    Type.Q6_K: [(208, 1)], Type.IQ4_NL: [(0, 1)], Type.IQ4_XS: [(0, 1)],
}


def random_blocks(quant_type, count, std, rng):
    """`count` random blocks whose values have standard deviation `std`, as bytes."""
    _, block_bytes = gguf.GGML_QUANT_SIZES[quant_type]
    blocks = np.frombuffer(rng.bytes(count * block_bytes), np.uint8).reshape(count, block_bytes).copy()
    if quant_type == Type.MXFP4:
        blocks[:, 0] = 128 + round(math.log2(std / 5.9))  # 5.9: deviation of the codebook
        return blocks
    if quant_type == Type.Q8_0:
        np.maximum(blocks.view(np.int8), -127, out=blocks.view(np.int8))  # encoders never write -128
    d = (std / UNIT_STD[quant_type]) * rng.uniform(0.7, 1.3, count)
    if len(SCALES[quant_type]) == 1:
        d *= rng.choice([-1.0, 1.0], count)  # codes may have a mean; with signs the values have none
    for offset, multiple in SCALES[quant_type]:
        halves = (d * multiple).astype(np.float16)
        blocks[:, offset : offset + 2] = halves.view(np.uint8).reshape(-1, 2)
    return blocks


def measure_unit_std(quant_type):
    UNIT_STD[quant_type] = 1.0
    blocks = random_blocks(quant_type, 2000, 1.0, np.random.default_rng(0))
    return float(gguf.dequantize(blocks.reshape(-1), quant_type).std())


UNIT_STD = {}
for _type in SCALES:
    UNIT_STD[_type] = measure_unit_std(_type)


def random_floats(quant_type, count, std, rng):
    values = rng.standard_normal(count, np.float32) * np.float32(std)
    if quant_type == Type.F16:
        return values.astype(np.float16)
    if quant_type == Type.BF16:
        return (values.view(np.uint32) >> 16).astype(np.uint16)
    return values


def write_random(stream, quant_type, rows, columns, rng):
    """A tensor's data, a few megabytes at a time."""
    std = 0.9 / math.sqrt(columns)
    block_elements, block_bytes = gguf.GGML_QUANT_SIZES[quant_type]
    make = random_floats if quant_type in FLOATS else random_blocks
    num_blocks = rows * columns // block_elements
    for start in range(0, num_blocks, 1 << 16):
        stream.write(make(quant_type, min(1 << 16, num_blocks - start), std, rng).tobytes())
    return num_blocks * block_bytes


def uses_more_bits(layer, layers):
    """llama.cpp's choice of layers that the _M mixes store in Q6_K."""
    return layer < layers // 8 or layer >= 7 * layers // 8 or (layer - layers // 8) % 3 == 2


def type_of(name, layer, columns, file_type, shape):
    _, base = FILE_TYPES[file_type]
    chosen = base
    is_head = name == "output.weight" or (name == "token_embd.weight" and shape.tied)
    if is_head and base not in FLOATS + (Type.Q8_0,):
        chosen = Type.Q6_K
    if file_type.endswith("_M") and ("attn_v" in name or "ffn_down" in name):
        chosen = Type.Q6_K if uses_more_bits(layer, shape.layers) else base
    block_elements, _ = gguf.GGML_QUANT_SIZES[chosen]
    return FALLBACK[chosen] if columns % block_elements else chosen


def tensors_of(shape, file_type):
    """(name, rows, columns, type) of each; rows 0 for vectors."""
    result = []

    def matrix(name, rows, columns, layer=0):
        result.append((name, rows, columns, type_of(name, layer, columns, file_type, shape)))

    def vector(name, size):
        result.append((name, 0, size, Type.F32))

    matrix("token_embd.weight", shape.vocab, shape.width)
    if shape.rope_factor:
        vector("rope_freqs.weight", shape.head_dim // 2)
    for layer in range(shape.layers):
        prefix = f"blk.{layer}."
        vector(prefix + "attn_norm.weight", shape.width)
        matrix(prefix + "attn_q.weight", shape.heads * shape.head_dim, shape.width, layer)
        matrix(prefix + "attn_k.weight", shape.kv_heads * shape.head_dim, shape.width, layer)
        matrix(prefix + "attn_v.weight", shape.kv_heads * shape.head_dim, shape.width, layer)
        matrix(prefix + "attn_output.weight", shape.width, shape.heads * shape.head_dim, layer)
        vector(prefix + "ffn_norm.weight", shape.width)
        matrix(prefix + "ffn_gate.weight", shape.ffn, shape.width, layer)
        matrix(prefix + "ffn_up.weight", shape.ffn, shape.width, layer)
        matrix(prefix + "ffn_down.weight", shape.width, shape.ffn, layer)
    vector("output_norm.weight", shape.width)
    if not shape.tied:
        matrix("output.weight", shape.vocab, shape.width)
    return result


def rope_factors(shape):
    """Llama 3.1's divisors of the rotation frequencies, for an original context of 8192."""
    low, high, original = 1.0, 4.0, 8192
    factors = []
    for i in range(shape.head_dim // 2):
        turns = original * shape.rope_base ** (-2 * i / shape.head_dim) / (2 * math.pi)
        smooth = min(1.0, max(0.0, (turns - low) / (high - low)))
        factors.append(1.0 / ((1 - smooth) / shape.rope_factor + smooth))
    return np.array(factors, np.float32)


def byte_letters():
    """The printable character that stands for each byte in byte-level vocabularies."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = {byte: chr(byte) for byte in printable}
    rest = [byte for byte in range(256) if byte not in letters]
    letters.update({byte: chr(256 + i) for i, byte in enumerate(rest)})
    return [letters[byte] for byte in range(256)]


MERGES = """Ġ t|h e|Ġt he|i n|e r|a n|o n|r e|Ġ a|Ġ s|Ġ w|a t|o u|e n|i s|Ġ o|Ġo f|i t|o r|e s|in g|e d|
Ġ b|Ġ c|Ġ f|l l|Ġ p|an d|Ġ and|Ġ in|Ġt o|Ġ m|Ġ d|Ġ h|o m|Ġ l|Ġ n|Ġw or|Ġwor d|l e"""
CONTROLS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content']"
    " + '<|im_end|>' + '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


FILL_TOKENS = {"pre": "<|fim_prefix|>", "suf": "<|fim_suffix|>", "mid": "<|fim_middle|>"}


def add_byte_vocabulary(writer, words, chat_template, fills):
    merges = [m for m in MERGES.replace("\n", "").split("|")]
    tokens = byte_letters()
    tokens += [merge.replace(" ", "") for merge in merges if merge.replace(" ", "") not in tokens]
    letters = byte_letters()
    tokens += ["".join(letters[byte] for byte in word.encode()) for word in words]
    first_control = len(tokens)
    controls = CONTROLS + (list(FILL_TOKENS.values()) if fills else [])
    tokens += controls
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_types([1] * first_control + [3] * len(controls))
    writer.add_token_merges(merges)
    writer.add_bos_token_id(first_control)
    writer.add_eos_token_id(first_control + 2)
    for name, token in FILL_TOKENS.items() if fills else ():
        writer.add_uint32(f"tokenizer.ggml.fim_{name}_token_id", tokens.index(token))
    writer.add_add_bos_token(False)
    writer.add_chat_template(chat_template)
    return len(tokens)


def copy_vocabulary(writer, path):
    for name, field in gguf.GGUFReader(path).fields.items():
        if not name.startswith("tokenizer."):
            continue
        sub_type = field.types[1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
        value = field.contents()
        writer.add_key_value(name, value, field.types[0], sub_type)
        if name == "tokenizer.ggml.tokens":
            num_tokens = len(value)
    return num_tokens


def add_hyperparameters(writer, args, shape):
    writer.add_name(f"synthetic {args.shape} {args.type}")
    writer.add_file_type(FILE_TYPES[args.type][0])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_block_count(shape.layers)
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_feed_forward_length(shape.ffn)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_key_length(shape.head_dim)
    writer.add_value_length(shape.head_dim)
    writer.add_rope_dimension_count(shape.head_dim)
    writer.add_rope_freq_base(shape.rope_base)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(shape.vocab)
    if args.pooling:
        writer.add_pooling_type(gguf.PoolingType[args.pooling.upper()])


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("out")
    parser.add_argument("--shape", choices=SHAPES, default="tiny")
    parser.add_argument("--type", choices=FILE_TYPES, default="Q4_0")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--vocab", help="a GGUF file whose tokenizer the model gets")
    parser.add_argument("--words", help="a file with more tokens, one a line: one that stands there "
                        "often is drawn often, as all are as likely")
    parser.add_argument("--chat-template", help="a file with the template of the byte vocabulary")
    parser.add_argument("--fills", action="store_true",
                        help="give the byte vocabulary tokens around text to be filled in")
    parser.add_argument("--pooling", choices=[kind.name.lower() for kind in gguf.PoolingType],
                        help="a model that makes embeddings, so")
    parser.add_argument("--context", type=int, help="instead of the shape's own")
    parser.add_argument("--untied", action="store_true", help="give it an output matrix of its own")
    args = parser.parse_args()

    shape = SHAPES[args.shape]
    shape.tied = shape.tied and not args.untied
    if shape.vocab and not args.vocab:
        parser.error(f"{args.shape} needs --vocab with a file of {shape.vocab} tokens")
    writer = gguf.GGUFWriter(args.out, "llama")
    if args.vocab:
        num_tokens = copy_vocabulary(writer, args.vocab)
    else:
        words = pathlib.Path(args.words).read_text().splitlines() if args.words else []
        template = pathlib.Path(args.chat_template).read_text() if args.chat_template else CHAT_TEMPLATE
        num_tokens = add_byte_vocabulary(writer, words, template, args.fills)
    shape.context = args.context or shape.context
    if shape.vocab not in (0, num_tokens):
        parser.error(f"{args.vocab} has {num_tokens} tokens, not {shape.vocab}")
    shape.vocab = num_tokens
    add_hyperparameters(writer, args, shape)

    tensors = tensors_of(shape, args.type)
    for name, rows, columns, quant_type in tensors:
        block_elements, block_bytes = gguf.GGML_QUANT_SIZES[quant_type]
        num_bytes = max(rows, 1) * columns // block_elements * block_bytes
        dimensions = (rows, columns) if rows else (columns,)
        writer.add_tensor_info(name, dimensions, np.dtype(np.float32), num_bytes, raw_dtype=quant_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    stream = writer.fout[0]
    rng = np.random.default_rng(args.seed)
    writer.write_padding(stream, stream.tell())
    for name, rows, columns, quant_type in tensors:
        if name == "rope_freqs.weight":
            data = rope_factors(shape).tobytes()
            num_bytes = stream.write(data)
        elif rows == 0:
            data = 1 + 0.1 * rng.standard_normal(columns, np.float32)
            num_bytes = stream.write(data.astype(np.float32).tobytes())
        else:
            num_bytes = write_random(stream, quant_type, rows, columns, rng)
        writer.write_padding(stream, num_bytes)
    print(f"{args.out}: {stream.tell() / 1e6:.1f} MB, {len(tensors)} tensors, {num_tokens} tokens")
    writer.close()


if __name__ == "__main__":
    main()
