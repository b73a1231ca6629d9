#!/usr/bin/env python3
"""Makes the golden embeddings: float32 PyTorch `transformers` on the weights of a GGUF file.

    make_embedding_goldens.py MODEL.gguf LOGIT_GOLDENS.txt OUT.txt

The texts are the prompts number 2, 3 and 5 of the file that make_logit_goldens.py made. Output, one
line each; a vector is pooled from the final hidden states and has length 1:

    prompt ID ID ...
    last VALUE VALUE ...
    mean VALUE VALUE ...
    first VALUE VALUE ...

Needs: torch, transformers, accelerate, gguf.
"""
import os
import sys

import torch
from transformers import AutoModelForCausalLM


def main() -> None:
    model_path, prompts_path, out_path = sys.argv[1:4]
    model = AutoModelForCausalLM.from_pretrained(
        os.path.dirname(os.path.abspath(model_path)),
        gguf_file=os.path.basename(model_path),
        dtype=torch.float32,
        attn_implementation="eager",
    ).eval()
    with open(prompts_path, encoding="ascii") as file:
        prompts = [line.split()[1:] for line in file if line.startswith("prompt ")]
    with open(out_path, "w", encoding="ascii") as out:
        for words in (prompts[1], prompts[2], prompts[4]):
            with torch.no_grad():
                states = model.model(torch.tensor([list(map(int, words))])).last_hidden_state[0]
            out.write("prompt " + " ".join(words) + "\n")
            pooled = {"last": states[-1], "mean": states.double().mean(0), "first": states[0]}
            for name, vector in pooled.items():
                vector = vector.double() / vector.double().norm()
                out.write(name + " " + " ".join(f"{v:.6f}" for v in vector.tolist()) + "\n")


if __name__ == "__main__":
    main()
