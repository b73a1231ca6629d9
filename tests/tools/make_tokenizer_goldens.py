#!/usr/bin/env python3
"""Makes the small vocabularies of tests/text/golden and the ids that their own libraries give.

Trains a byte-level BPE (with PyPI's `tokenizers`) and a SentencePiece BPE (`sentencepiece`) on
corpus.txt, writes them as tokenizer_tiny_bytes.gguf and tokenizer_tiny_pieces.gguf (`gguf`), and for
each line of the corpus that is UTF-8 the FNV-1a hash of the ids that the library gives ("-" for the
others) as tokenizer_tiny_*.txt: an answer that owes nothing to us or to llama.cpp.

  pip install tokenizers sentencepiece gguf && python3 make_tokenizer_goldens.py
"""
import io
import pathlib

import gguf
import sentencepiece
import tokenizers
from tokenizers import AddedToken, Regex, models, pre_tokenizers, trainers

from compare_tokenizers import fnv

GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "text/golden"
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|"
          r"\s*[\r\n]+|\s+(?!\S)|\s+")
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


def lines():
    return (GOLDEN / "corpus.txt").read_bytes().rstrip(b"\n").split(b"\n")


def write_hashes(name, encode):
    out = []
    for line in lines():
        try:
            out.append(f"{fnv(encode(line.decode())):08x}\n")
        except UnicodeDecodeError:
            out.append("-\n")
    (GOLDEN / name).write_text("".join(out))


def pre_tokenizer(name):
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=name != "llama-bpe")
    before = {"gpt-2": [], "smollm": [pre_tokenizers.Digits(individual_digits=True)],
              "llama-bpe": [pre_tokenizers.Split(Regex(LLAMA3), behavior="isolated")]}[name]
    return pre_tokenizers.Sequence(before + [byte_level])


def make_bytes():
    text = [line.decode() for line in lines() if line.isascii() or line.decode(errors="ignore").encode() == line]
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizer("gpt-2")
    trainer = trainers.BpeTrainer(vocab_size=1400, special_tokens=SPECIAL, show_progress=False,
                                  initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()))
    tokenizer.train_from_iterator(text, trainer)
    import json
    state = json.loads(tokenizer.to_str())
    vocab = sorted(state["model"]["vocab"], key=state["model"]["vocab"].get)
    merges = [tuple(m) if isinstance(m, list) else tuple(m.split(" ")) for m in state["model"]["merges"]]

    path = GOLDEN / "tokenizer_tiny_bytes.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(vocab)
    writer.add_token_types([3 if token in SPECIAL else 1 for token in vocab])
    writer.add_token_merges([" ".join(merge) for merge in merges])
    writer.add_bos_token_id(vocab.index("<|im_start|>"))
    writer.add_eos_token_id(vocab.index("<|im_end|>"))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()

    for pre in ("gpt-2", "smollm", "llama-bpe"):
        model = models.BPE(vocab={t: i for i, t in enumerate(vocab)}, merges=merges,
                           ignore_merges=pre == "llama-bpe")
        tokenizer = tokenizers.Tokenizer(model)
        tokenizer.add_special_tokens([AddedToken(text, normalized=False) for text in SPECIAL])
        tokenizer.pre_tokenizer = pre_tokenizer(pre)
        write_hashes(f"tokenizer_tiny_bytes.{pre}.txt",
                     lambda line: tokenizer.encode(line, add_special_tokens=False).ids)


def make_pieces():
    # The characters of the first lines (prose and code) become tokens, the others stay bytes.
    text = [line.decode().replace("\0", "") for line in lines()[:56]]
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(text), model_writer=model, vocab_size=2000, model_type="bpe", byte_fallback=True,
        character_coverage=0.98, normalization_rule_name="identity", remove_extra_whitespaces=False,
        add_dummy_prefix=True, split_digits=True, allow_whitespace_only_pieces=True, minloglevel=2)
    processor = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())

    path = GOLDEN / "tokenizer_tiny_pieces.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    size = processor.vocab_size()
    types = [2 if processor.is_unknown(i) else 3 if processor.is_control(i) else 6 if processor.is_byte(i) else 1
             for i in range(size)]
    writer.add_token_list([processor.id_to_piece(i) for i in range(size)])
    writer.add_token_scores([processor.get_score(i) for i in range(size)])
    writer.add_token_types(types)
    writer.add_bos_token_id(processor.bos_id())
    writer.add_eos_token_id(processor.eos_id())
    writer.add_unk_token_id(processor.unk_id())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    write_hashes("tokenizer_tiny_pieces.txt", lambda line: processor.encode(line))


if __name__ == "__main__":
    make_bytes()
    make_pieces()
    for path in sorted(GOLDEN.glob("tokenizer_tiny*")):
        print(path, path.stat().st_size)
