#!/usr/bin/env python3
"""Compares our token ids with llama.cpp's, line by line, for any number of vocabularies.

  compare_tokenizers.py --ours build/release/bench/bench_tokenizer --libllama .../libllama.so \\
      --corpus tests/text/golden/corpus.txt [--show 5] [--write-goldens DIR] VOCAB.gguf...

`--ours` is bench_tokenizer (ids of every line in one run). Alternatively `--sluice build/release/sluice
--llama-tokenize .../llama-tokenize` compares the two programs on each corpus file as a whole, in the
way a user would call them. With --write-goldens DIR the reference's ids become DIR/tokenizer_NAME.txt:
for each line of the corpus and last for the whole file, FNV-1a (32 bits) of the ids.
"""
import argparse
import ctypes
import os
import pathlib
import subprocess
import sys
import tempfile


class ModelParams(ctypes.Structure):
    """llama_model_params of llama.h."""
    _fields_ = [("devices", ctypes.c_void_p), ("overrides", ctypes.c_void_p), ("n_gpu_layers", ctypes.c_int32),
                ("split_mode", ctypes.c_int), ("load_mode", ctypes.c_int), ("lazy_mode", ctypes.c_int),
                ("main_gpu", ctypes.c_int32), ("tensor_split", ctypes.c_void_p), ("progress", ctypes.c_void_p),
                ("progress_data", ctypes.c_void_p), ("kv_overrides", ctypes.c_void_p), ("vocab_only", ctypes.c_bool),
                ("flags", ctypes.c_bool * 5)]


class Reference:
    """Tokenizes with libllama."""

    def __init__(self, path):
        self.lib = ctypes.CDLL(path)
        self.lib.llama_model_default_params.restype = ModelParams
        self.lib.llama_model_load_from_file.restype = ctypes.c_void_p
        self.lib.llama_model_load_from_file.argtypes = [ctypes.c_char_p, ModelParams]
        self.lib.llama_model_get_vocab.restype = ctypes.c_void_p
        self.lib.llama_model_get_vocab.argtypes = [ctypes.c_void_p]
        self.lib.llama_model_free.argtypes = [ctypes.c_void_p]
        self.lib.llama_tokenize.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int32, ctypes.c_void_p,
                                            ctypes.c_int32, ctypes.c_bool, ctypes.c_bool]
        self.callback_type = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
        self.silence = self.callback_type(lambda level, text, data: None)
        self.lib.llama_log_set(self.silence, None)
        self.lib.llama_backend_init()

    def load(self, path):
        params = self.lib.llama_model_default_params()
        params.vocab_only = True
        self.model = self.lib.llama_model_load_from_file(path.encode(), params)
        if not self.model:
            raise RuntimeError(f"the reference cannot load {path}")
        self.vocab = self.lib.llama_model_get_vocab(self.model)

    def free(self):
        self.lib.llama_model_free(self.model)

    def encode(self, text, parse_special=True):
        buffer = (ctypes.c_int32 * (len(text) * 4 + 16))()
        count = self.lib.llama_tokenize(self.vocab, text, len(text), buffer, len(buffer), False, parse_special)
        if count < 0:
            raise RuntimeError("the reference's answer does not fit")
        return list(buffer[:count])


def our_lines(program, vocab, data):
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        result = subprocess.run([program, vocab, "--lines", file.name], capture_output=True, text=True)
    if result.returncode != 0:
        raise RuntimeError(result.stderr.strip())
    return [[int(id) for id in line.split()] for line in result.stdout.split("\n")[:-1]]


def fnv(ids):
    value = 0x811C9DC5
    for id in ids:
        for byte in int(id).to_bytes(4, "little"):
            value = (value ^ byte) * 0x01000193 & 0xFFFFFFFF
    return value


def write_goldens(directory, vocab, ids):
    name = pathlib.Path(vocab).stem
    path = pathlib.Path(directory) / f"tokenizer_{name}.txt"
    path.write_text("".join(f"{fnv(line):08x}\n" for line in ids))


def compare_lines(args, vocab, reference, data):
    lines = data.rstrip(b"\n").split(b"\n") if data else []
    ours = our_lines(args.ours, vocab, b"\n".join(lines) + b"\n")
    reference.load(vocab)
    theirs = [reference.encode(line) for line in lines]
    if args.write_goldens:
        write_goldens(args.write_goldens, vocab, theirs + [reference.encode(data)])
    reference.free()
    different = [i for i in range(len(lines)) if ours[i] != theirs[i]]
    for i in different[:args.show]:
        print(f"  line {i + 1}: {lines[i]!r}\n    ours   {ours[i]}\n    theirs {theirs[i]}")
    return len(lines) - len(different), len(lines)


def compare_programs(args, vocab):
    """Whole files through both command lines: 1 when identical."""
    ours = subprocess.run([args.sluice, "tokenize", vocab, "-f", args.corpus, "--ids"], capture_output=True, text=True)
    if ours.returncode != 0:
        raise RuntimeError(ours.stderr.strip())
    theirs = subprocess.run([args.llama_tokenize, "-m", vocab, "-f", args.corpus, "--ids", "--no-bos", "--no-escape",
                             "--log-disable"], capture_output=True, text=True)
    strip = lambda text: [int(id) for id in text.replace("[", " ").replace("]", " ").replace(",", " ").split()]
    return int(strip(ours.stdout) == strip(theirs.stdout)), 1


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--ours")
    parser.add_argument("--libllama")
    parser.add_argument("--sluice")
    parser.add_argument("--llama-tokenize")
    parser.add_argument("--corpus", required=True)
    parser.add_argument("--show", type=int, default=3)
    parser.add_argument("--write-goldens")
    parser.add_argument("vocabs", nargs="+")
    args = parser.parse_args()
    if not (args.ours and args.libllama) and not (args.sluice and args.llama_tokenize):
        sys.exit("give --ours and --libllama, or --sluice and --llama-tokenize")
    reference = Reference(args.libllama) if args.libllama else None
    data = pathlib.Path(args.corpus).read_bytes()
    failed = 0
    for vocab in args.vocabs:
        try:
            same, total = compare_lines(args, vocab, reference, data) if args.ours else compare_programs(args, vocab)
            failed += same != total
            print(f"{os.path.basename(vocab):40} {same:6} of {total:6} identical", flush=True)
        except RuntimeError as error:
            print(f"{os.path.basename(vocab):40} {error}", flush=True)
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
