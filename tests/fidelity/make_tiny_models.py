#!/usr/bin/env python3
"""Makes tiny random models with golden logits for architectures and features that no small real
model covers: PyTorch `transformers` computes the logits, the same weights are written as GGUF (F16).

    make_tiny_models.py OUT_FOLDER [NAME...]     writes tiny_NAME.gguf and tiny_NAME_logits.txt

Needs: torch, transformers, gguf, numpy.
"""
import math
import sys

import gguf
import numpy as np
import torch
from transformers import (
    Gemma3ForCausalLM, Gemma3TextConfig, LlamaConfig, LlamaForCausalLM, Qwen2Config,
    Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM)

VOCAB, WIDTH, HEADS, KV_HEADS = 96, 32, 4, 2
PROMPT_LENGTH = 80


def common(**extra):
    return dict(vocab_size=VOCAB, hidden_size=WIDTH, num_attention_heads=HEADS,
                num_key_value_heads=KV_HEADS, max_position_embeddings=256, **extra)


def build(name):
    """The model, its GGUF architecture, and whether q and k are stored with rotary pairs together."""
    if name == "qwen2":
        config = Qwen2Config(**common(num_hidden_layers=2, intermediate_size=48,
                                      rope_theta=5000.0, tie_word_embeddings=True))
        return Qwen2ForCausalLM(config), "qwen2", False
    if name == "qwen3":
        scaling = dict(rope_type="yarn", rope_theta=5000.0, factor=4.0,
                       original_max_position_embeddings=64)
        config = Qwen3Config(**common(num_hidden_layers=2, intermediate_size=48, head_dim=16,
                                      rope_parameters=scaling, tie_word_embeddings=False))
        return Qwen3ForCausalLM(config), "qwen3", False
    if name == "llama31":
        scaling = dict(rope_type="llama3", rope_theta=5000.0, factor=8.0, low_freq_factor=1.0,
                       high_freq_factor=4.0, original_max_position_embeddings=64)
        config = LlamaConfig(**common(num_hidden_layers=2, intermediate_size=48,
                                      rope_parameters=scaling, tie_word_embeddings=False))
        return LlamaForCausalLM(config), "llama", True
    config = Gemma3TextConfig(**common(num_hidden_layers=7, intermediate_size=24, head_dim=8,
                                       sliding_window=16, query_pre_attn_scalar=8))
    return Gemma3ForCausalLM(config), "gemma3", False


def randomise(model):
    generator = torch.Generator().manual_seed(20261122)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            scale = 0.3 if weight.ndim == 2 else 0.2
            values = torch.randn(weight.shape, generator=generator) * scale
            if weight.ndim == 1 and "norm" in name and "gemma" not in type(model).__name__.lower():
                values += 1.0
            weight.copy_(values.half().float())


# GGUF keeps a head's rotary pairs side by side for llama; transformers keeps them half a head apart.
def pair_up(weight, heads):
    return weight.reshape(heads, 2, weight.shape[0] // heads // 2, -1).swapaxes(1, 2).reshape(
        weight.shape)


NAMES = {
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm",
}


def gguf_name(name, is_gemma):
    if name.startswith("model.layers."):
        _, _, layer, rest = name.split(".", 3)
        stem, kind = rest.rsplit(".", 1)
        names = dict(NAMES)
        if is_gemma:
            names.update({"post_attention_layernorm": "post_attention_norm",
                          "pre_feedforward_layernorm": "ffn_norm",
                          "post_feedforward_layernorm": "post_ffw_norm"})
        else:
            names["post_attention_layernorm"] = "ffn_norm"
        return f"blk.{layer}.{names[stem]}.{kind}"
    return {"model.embed_tokens.weight": "token_embd.weight",
            "model.norm.weight": "output_norm.weight", "lm_head.weight": "output.weight"}[name]


def rope_divisors(config):
    scaling = config.rope_parameters
    dims = config.hidden_size // config.num_attention_heads
    low = scaling["original_max_position_embeddings"] / scaling["low_freq_factor"]
    high = scaling["original_max_position_embeddings"] / scaling["high_freq_factor"]
    divisors = []
    for i in range(0, dims, 2):
        wave = 2 * math.pi * scaling["rope_theta"] ** (i / dims)
        if wave < high:
            divisors.append(1.0)
        elif wave > low:
            divisors.append(scaling["factor"])
        else:
            smooth = (scaling["original_max_position_embeddings"] / wave -
                      scaling["low_freq_factor"]) / (
                          scaling["high_freq_factor"] - scaling["low_freq_factor"])
            divisors.append(1 / ((1 - smooth) / scaling["factor"] + smooth))
    return np.array(divisors, dtype=np.float32)


def write_gguf(path, model, architecture, pairs_together):
    config = model.config
    is_gemma = architecture == "gemma3"
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    rope = config.rope_parameters
    theta = rope["full_attention"]["rope_theta"] if is_gemma else rope["rope_theta"]
    writer.add_rope_freq_base(theta)
    if is_gemma or architecture == "qwen3":
        writer.add_key_length(config.head_dim)
        writer.add_value_length(config.head_dim)
    if is_gemma:
        writer.add_sliding_window(config.sliding_window)
    if rope.get("rope_type") == "yarn":
        writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        writer.add_rope_scaling_factor(rope["factor"])
        writer.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
    for name, weight in model.named_parameters():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        array = weight.detach().numpy()
        if pairs_together and "q_proj" in name:
            array = pair_up(array, HEADS)
        if pairs_together and "k_proj" in name:
            array = pair_up(array, KV_HEADS)
        if is_gemma and name.endswith("norm.weight"):
            array = array + 1.0
        array = array.astype(np.float16 if array.ndim == 2 else np.float32)
        writer.add_tensor(gguf_name(name, is_gemma), array)
    if architecture == "llama":
        writer.add_tensor("rope_freqs.weight", rope_divisors(config))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main():
    folder = sys.argv[1]
    for name in sys.argv[2:] or ("qwen2", "qwen3", "llama31", "gemma3"):
        model, architecture, pairs_together = build(name)
        model = model.float().eval()
        randomise(model)
        write_gguf(f"{folder}/tiny_{name}.gguf", model, architecture, pairs_together)
        ids = [(i * i * 7 + i * 3 + 1) % VOCAB for i in range(PROMPT_LENGTH)]
        with torch.no_grad():
            logits = model(torch.tensor([ids])).logits[0]
        with open(f"{folder}/tiny_{name}_logits.txt", "w", encoding="ascii") as out:
            out.write("prompt " + " ".join(map(str, ids)) + "\n")
            for position in (0, 1, 15, 16, 17, 33, 63, PROMPT_LENGTH - 1):
                values = " ".join(f"{i}:{v:.6f}" for i, v in enumerate(logits[position].tolist()))
                out.write(f"row {position} {values}\n")


if __name__ == "__main__":
    main()
