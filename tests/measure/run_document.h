#pragma once

#include <string>

namespace sluice::measure::testing {

// What `sluice loadtest --json` writes for two users of one story length, by hand.
inline std::string run_document() {
  return R"({
 "program": "sluice loadtest", "started_at": "2026-11-29T10:00:00Z",
 "url": "http://127.0.0.1:11434", "api": "ollama", "model": "tiny:1b", "warm_up_seconds": 1.5,
 "was_stopped": false,
 "rows": [
  {"test": "output", "words": 100, "requests_at_a_time": 1, "num_requests": 1, "num_errors": 0,
   "mean_output_tokens": 4, "mean_seconds": 0.5, "tokens_per_second_each": 8,
   "tokens_per_second_in_all": 8, "ttft_mean_seconds": 0.2, "ttft_p95_seconds": 0.25},
  {"test": "output", "words": 100, "requests_at_a_time": 4, "num_requests": 4, "num_errors": 1,
   "mean_output_tokens": 4, "mean_seconds": 0.8, "tokens_per_second_each": 5,
   "tokens_per_second_in_all": 20, "ttft_mean_seconds": null, "ttft_p95_seconds": null}],
 "requests": [
  {"index": 0, "test": "output", "words": 100, "requests_at_a_time": 1, "http_status": 200,
   "error": null, "finish_reason": "stop", "prompt_tokens": 12, "cached_tokens": null,
   "output_tokens": 4, "sent_ns": 1000000000, "ended_ns": 1500000000,
   "pieces_ns": [1200000000, 1300000000, 1400000000, 1500000000]},
  {"index": 1, "test": "output", "words": 100, "requests_at_a_time": 4, "http_status": 0,
   "error": "no <answer>", "finish_reason": "", "output_tokens": 0, "sent_ns": 2000000000,
   "ended_ns": 2100000000, "pieces_ns": []}],
 "machine": {"processor": "Test & Co", "cores": 2, "memory_bytes": 16e9,
  "read_bytes_per_second": 20e9, "operations_per_second": 400e9, "gpus": []},
 "model_facts": {"server": "Sluice 0.1", "quantization": "Q4_0", "parameter_size": "1B",
  "bytes_by_type": {"Q4_0": 750e6, "Q6_K": 250e6},
  "tensors": [{"name": "blk.*.attn_q.weight", "type": "Q4_0", "count": 16, "bytes": 750e6},
   {"name": "token_embd.weight", "type": "Q6_K", "count": 1, "bytes": 250e6}],
  "token_read_bytes": 1e9,
  "token_operations": 2e9,
  "cache_token_bytes": 100e3, "trained_context": 100000, "context": 4096, "weights_bytes": 1e9,
  "workspace_bytes": 1e7, "cache_bytes": 4e8},
 "timeline": [
  {"seconds": 1, "length_seconds": 1, "phase": "load", "disk_read_bytes_per_second": 5e8},
  {"seconds": 2, "length_seconds": 1, "phase": "decode", "process_cpu_share": 1.9,
   "threads": [{"name": "engine", "cpu_share": 1.0}, {"name": "cpu-worker-1", "cpu_share": 0.9}],
   "num_running": 4, "num_waiting": 2, "num_blocks_used": 5, "num_blocks_total": 10,
   "output_tokens_per_second": 20, "forward_share": 0.97, "schedule_share": 0.01,
   "power_watts": 100, "gpus": [{"index": 0, "power_watts": 300}]},
  {"seconds": 6, "length_seconds": 4, "phase": "idle", "process_cpu_share": 0.01}]
})";
}

}  // namespace sluice::measure::testing
