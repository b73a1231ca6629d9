#pragma once

#include <atomic>
#include <functional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "backend/backend.h"
#include "base/error.h"

namespace sluice::engine {

// What a forward pass gives, valid until the next one.
struct ForwardOutput {
  std::span<const float> logits;      // [logit_rows, vocab_size]
  std::span<const float> embeddings;  // [embedding_rows, embedding_length]
};
using Forward = std::function<ForwardOutput(const backend::Batch&)>;

// As the CPU's are.
inline constexpr backend::Traits kCpuTraits = {8, 4, 4, true};

// A device whose forward pass is a function; the rest is as plain as can be.
class FakeBackend : public backend::Backend {
 public:
  explicit FakeBackend(Forward forward) : forward_(std::move(forward)) {}

  backend::Traits traits() const override { return kCpuTraits; }
  std::string description() const override { return "fake"; }
  backend::MemoryUse plan(const backend::Program&, const backend::LoadOptions&,
                          int) const override {
    return {};
  }
  void load(backend::Program, const backend::LoadOptions&) override {}
  size_t cache_block_bytes() const override { return 0; }
  void allocate_cache(int) override {}
  backend::MemoryUse memory() const override { return {}; }
  bool is_lost() const override { return is_lost_; }

  // From here on every step throws.
  void lose() { is_lost_ = true; }

  void submit(const backend::Batch& batch) override { batch_ = &batch; }
  backend::StepResult wait() override {
    const backend::Batch& batch = *std::exchange(batch_, nullptr);
    if (is_lost_) throw Error(ErrorCode::kInternal, "the device is lost");
    const ForwardOutput output = forward_(batch);
    logits_.assign(output.logits.begin(), output.logits.end());
    backend::sample_rows(logits_, batch.samplings, tokens_);
    backend::StepResult result;
    result.tokens = tokens_;
    if (batch.samplings.empty()) result.logits = logits_;
    result.embeddings = output.embeddings;
    return result;
  }

 private:
  Forward forward_;
  const backend::Batch* batch_ = nullptr;
  std::atomic<bool> is_lost_ = false;
  std::vector<float> logits_;
  std::vector<backend::SampledToken> tokens_;
};

}  // namespace sluice::engine
