#!/usr/bin/env python3
"""OpenVINO GenAI's continuous batching in process: answers lines of JSON (see bench/serving.py).

    bench/peers/openvino_driver.py MODEL.gguf        (with a Python that has openvino-genai)

Reads {"clients": N, "tokens": T, "waves": W, "prompt": "..."} a line; generates T tokens for N
prompts at once, W times, and prints {"figures": {...}} with the median tokens/s of all together.
(The library's own latencies are means over the batch and would say something else than a client's.)
"""
import json
import os
import statistics
import sys
import time

import openvino_genai


def load(path):
    scheduler = openvino_genai.SchedulerConfig()
    scheduler.cache_size = 6  # GB
    scheduler.max_num_seqs = 256
    scheduler.max_num_batched_tokens = 512
    scheduler.enable_prefix_caching = True
    return openvino_genai.LLMPipeline(path, "CPU", scheduler_config=scheduler,
                                      INFERENCE_NUM_THREADS=os.cpu_count())


def measure(pipeline, question):
    config = openvino_genai.GenerationConfig()
    config.max_new_tokens = question["tokens"]
    config.ignore_eos = True
    prompts = [question["prompt"]] * question["clients"]
    rates = []
    for _ in range(question["waves"]):
        begin = time.perf_counter()
        pipeline.generate(prompts, config)
        rates.append(len(prompts) * question["tokens"] / (time.perf_counter() - begin))
    return {"tokens_per_second": statistics.median(rates)}


def answer(figures):
    print(json.dumps({"figures": figures}), flush=True)


def main():
    begin = time.perf_counter()
    pipeline = load(sys.argv[1])
    answer({"load_seconds": time.perf_counter() - begin})
    for line in sys.stdin:
        answer(measure(pipeline, json.loads(line)))


if __name__ == "__main__":
    main()
