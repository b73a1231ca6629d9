#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "backend/program.h"
#include "backend/sampling.h"

namespace sluice::backend {

// The cache is paged: a block holds the keys and values of this many consecutive tokens of one
// sequence, in every layer.
inline constexpr int kBlockTokens = 16;
// Blocks that hold so many tokens.
constexpr int64_t blocks_for_tokens(int64_t num_tokens) {
  return (num_tokens + kBlockTokens - 1) / kBlockTokens;
}

// What those who plan a device's steps must know of it.
struct Traits {
  // A step of at most `exact_rows` tokens, in which a sequence has several that are not of its
  // prompt, gives each of them bit for bit the logits that a step of single tokens of at most
  // `exact_sequences` sequences would. And a prompt in steps of its own gives the same logits in
  // whatever chunks, quantized weights provided: a request's reply does not depend on what the
  // prefix cache held. With 1, 1 nothing is guessed.
  int exact_rows = 1;
  int exact_sequences = 1;
  // Larger steps are computed in groups of so many rows: the more that fill one up cost little.
  int row_group = 1;
  // Weights, cache and workspace lie in the host's memory, beside everything else there.
  bool uses_host_memory = true;
  // From so many tokens on a step takes about half the time of one of twice as many, and devices in
  // a pipeline may compute two at the same time; 0: not at all, or they share processors.
  int piece_tokens = 0;
};

// One sequence's part of a step: a decode step (one token) or a chunk of its prompt.
struct BatchSequence {
  int first_token = 0;                   // where its tokens start in Batch::tokens
  int num_tokens = 0;                    // at least 1
  int num_cached = 0;                    // tokens already in the cache; its first token's position
  std::span<const int32_t> block_table;  // enough blocks for num_cached + num_tokens
  bool is_prompt = false;                // a chunk of a prompt, be it of one token
};

// A ragged batch: tokens of many sequences one behind the other, prefill chunks and decode steps
// mixed. A token of sequence s at offset i has position s.num_cached + i.
struct Batch {
  std::vector<int32_t> tokens;
  std::vector<BatchSequence> sequences;
  // Indices into tokens, ascending: whose logits are wanted, and whose final hidden states. No
  // token is in both.
  std::vector<int32_t> logit_rows;
  std::vector<int32_t> embedding_rows;
  // What to draw from each of logit_rows, in their order. Empty: the logits are the result.
  std::vector<RowSampling> samplings;
  // For a program that begins with Receive: [tokens, its width].
  std::span<const float> received;

  size_t num_output_rows() const { return logit_rows.size() + embedding_rows.size(); }
  // The token of an output row: logit rows first, embedding rows behind them.
  int32_t output_row(size_t index) const {
    return index < logit_rows.size() ? logit_rows[index]
                                     : embedding_rows[index - logit_rows.size()];
  }
  void clear() {
    tokens.clear();
    sequences.clear();
    logit_rows.clear();
    embedding_rows.clear();
    samplings.clear();
    received = {};
  }
};

// What a step gives, valid until the next one.
struct StepResult {
  std::span<SampledToken> tokens;     // [samplings]; the caller may move from them
  std::span<const float> logits;      // [logit_rows, vocab_size]; empty when tokens were drawn
  std::span<const float> embeddings;  // [embedding_rows, embedding_length], final norm applied
};

// kQ8_0: bytes with a scale for every 32 of a head's dimensions; about half of kF16.
enum class CacheType { kF16, kQ8_0 };
// "f16" or "q8_0".
std::string_view cache_type_name(CacheType type);
// Throws Error(kInvalidArgument) for another name.
CacheType parse_cache_type(std::string_view name);

struct LoadOptions {
  int max_batch_tokens = 512;  // most tokens in one step
  int max_logit_rows = 64;     // most rows of logits in one step; perplexity wants max_batch_tokens
  int max_embedding_rows = 0;  // most rows of hidden states in one step
  CacheType cache_type = CacheType::kF16;
  // Called now and then with a fraction from 0 to 1, from the loading thread. May be empty.
  std::function<void(double)> on_progress;
};

// What a model holds, in bytes.
struct MemoryUse {
  size_t weights = 0;
  size_t cache = 0;
  size_t workspace = 0;
  size_t on_device = 0;  // of all these, in a device's own memory; the rest is the host's
};

// A device with one model on it. One thread at a time uses it (the engine's).
class Backend {
 public:
  virtual ~Backend() = default;

  virtual Traits traits() const = 0;

  // One line for people: "cpu avx512-vnni, 2 threads".
  virtual std::string description() const = 0;

  // What memory() will be when such a model is loaded and has a cache of `num_blocks` blocks (0:
  // none yet): nothing is allocated, no weight is read. Throws what load() throws for a program
  // that it cannot run.
  virtual MemoryUse plan(const Program& program, const LoadOptions& options,
                         int num_blocks) const = 0;

  // Takes a model, with the weights in a layout of its own: their data is read here and never
  // again, so that the file may change or go afterwards. Throws Error(kUnsupported) for a program
  // it cannot run, Error(kOutOfMemory) with what was needed and what was free, and what reading
  // throws.
  virtual void load(Program program, const LoadOptions& options) = 0;

  // Bytes that one more cache block takes, over all layers, with what it adds to the workspace
  // where that is known beforehand; valid after load().
  virtual size_t cache_block_bytes() const = 0;
  // (Re)creates the cache with `num_blocks` blocks; contents undefined. Throws Error(kOutOfMemory).
  virtual void allocate_cache(int num_blocks) = 0;

  // Starts a step: within the limits of LoadOptions, block numbers below num_blocks. The batch, and
  // all it points to, must stay as it is until wait() has returned (but for masks, which may be
  // filled until wait() is called); meanwhile the caller may prepare the next one. When this
  // throws, no step was started.
  virtual void submit(const Batch& batch) = 0;
  // The result of the step that was submitted, to be called once for each. Throws what the step
  // throws; it is over then, too.
  virtual StepResult wait() = 0;
  StepResult forward(const Batch& batch) {
    submit(batch);
    return wait();
  }

  virtual MemoryUse memory() const = 0;

  // Bytes that can still be allocated where this backend's memory lies.
  virtual uint64_t free_bytes() const;

  // The devices that the layers are split over, in the order of the forward pass, once they are
  // loaded; all layers on this one device else.
  struct Stage {
    const Backend* device;
    int num_layers;  // 0: all
  };
  virtual std::vector<Stage> stages() const { return {{this, 0}}; }

  // The device has failed for good: every step throws from here on, and so does what else uses that
  // device in this process, until all of it has been destroyed. From any thread.
  virtual bool is_lost() const { return false; }
};

// Plain code, f32 throughout, cache in f32: what the others are tested against.
std::unique_ptr<Backend> make_reference_backend(int num_threads);

// The fast CPU backend; picks its kernels by the processor's features.
struct CpuOptions {
  int num_threads = 0;    // 0: usable cores
  std::string force_isa;  // "", "generic", "avx2", "avx512", "amx": for tests and measurements
};
std::unique_ptr<Backend> make_cpu_backend(const CpuOptions& options);

}  // namespace sluice::backend
