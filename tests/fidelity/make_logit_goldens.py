#!/usr/bin/env python3
"""Makes the golden logits: float32 PyTorch `transformers` on the weights of a GGUF file.

    make_logit_goldens.py MODEL.gguf TOKENIZE OUT.txt

TOKENIZE is a command that prints the ids of the text on its standard input on one line
(`sluice tokenize MODEL -f /dev/stdin --ids`); a space-separated list. Output, one line each:

    prompt ID ID ...
    row POSITION ID:LOGIT ID:LOGIT ...

The rows hold the 48 best logits and 48 others spread over the vocabulary, at four positions.
Needs: torch, transformers, accelerate, gguf.
"""
import os
import shlex
import subprocess
import sys

import torch
from transformers import AutoModelForCausalLM

PROMPTS = [
    "The capital of France is",
    "def fibonacci(n):\n    if n < 2:\n        return n\n    return",
    "Once upon a time, in a village at the foot of a mountain, there lived an old clockmaker who",
    "The boiling point of water at sea level is 100 degrees Celsius, which in Fahrenheit is",
    "Les enfants jouent dans le jardin pendant que leur grand-mère",
    "1, 1, 2, 3, 5, 8, 13, 21,",
    "{\"name\": \"Ada\", \"born\": 1815, \"fields\": [\"mathematics\",",
    "机器学习是人工智能的一个分支,它",
    "Licensed under the Apache License, Version 2.0 (the \"License\"); you may not use this file "
    "except in compliance with the License. You may obtain a copy of the License at",
    " ".join(f"Item {i} costs {i * 7 % 23} coins." for i in range(40)),
]


def main() -> None:
    model_path, tokenize, out_path = sys.argv[1:4]
    model = AutoModelForCausalLM.from_pretrained(
        os.path.dirname(os.path.abspath(model_path)),
        gguf_file=os.path.basename(model_path),
        dtype=torch.float32,
        attn_implementation="eager",
    ).eval()
    with open(out_path, "w", encoding="ascii") as out:
        for prompt in PROMPTS:
            printed = subprocess.run(
                shlex.split(tokenize), input=prompt.encode(), capture_output=True, check=True
            ).stdout
            ids = [int(word) for word in printed.decode().replace(",", " ").strip("[] \n").split()]
            with torch.no_grad():
                logits = model(torch.tensor([ids])).logits[0]
            out.write("prompt " + " ".join(map(str, ids)) + "\n")
            last = len(ids) - 1
            for position in sorted({last, last // 2, last // 3, max(0, last - 1)}):
                row = logits[position]
                best = torch.topk(row, 48).indices.tolist()
                spread = [(k * 977 + position * 13) % row.numel() for k in range(48)]
                chosen = sorted(set(best + spread))
                values = " ".join(f"{i}:{row[i].item():.5f}" for i in chosen)
                out.write(f"row {position} {values}\n")


if __name__ == "__main__":
    main()
