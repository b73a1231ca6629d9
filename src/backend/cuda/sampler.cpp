#include "backend/cuda/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <new>
#include <utility>

#include "backend/cuda/kernels.h"
#include "backend/philox.h"

namespace sluice::backend::cuda {
namespace {

// Different tokens that penalties may count, of all rows together: so many a row.
constexpr size_t kCountsPerRow = 1024;

size_t round_up_16(size_t bytes) { return (bytes + 15) / 16 * 16; }

float logprob_of(float logit, const SampleResult& result) {
  if (std::isnan(logit)) logit = -std::numeric_limits<float>::infinity();
  logit = std::min(logit, std::numeric_limits<float>::max());
  return static_cast<float>(static_cast<double>(logit) - result.best - std::log(result.total));
}

}  // namespace

Sampler::Places Sampler::places(int max_rows, int vocab_size) {
  const auto rows = static_cast<size_t>(max_rows);
  const size_t mask_words = (static_cast<size_t>(vocab_size) + 31) / 32;
  Places p{};
  size_t total = sizeof(StepPieces);
  const auto reserve = [&](size_t bytes) {
    const size_t at = total;
    total += round_up_16(bytes);
    return at;
  };
  p.tasks = reserve(rows * sizeof(SampleTask));
  p.counts = reserve(rows * kCountsPerRow * sizeof(TokenCount));
  p.masks = reserve(rows * mask_words * 4);
  p.end = total;
  return p;
}

size_t Sampler::size_bytes(int max_rows, int vocab_size) {
  return places(max_rows, vocab_size).end;
}

Sampler::Sampler(const Device& device, int max_rows, int vocab_size)
    : vocab_size_(vocab_size),
      mask_words_((vocab_size + 31) / 32),
      max_counts_(static_cast<size_t>(max_rows) * kCountsPerRow),
      places_(places(max_rows, vocab_size)),
      pinned_(device, places_.end),
      results_(device, static_cast<size_t>(max_rows) * sizeof(SampleResult)),
      mirror_(device, places_.end, "what is sampled"),
      token_counts_(static_cast<size_t>(vocab_size), 0) {}

void Sampler::add_piece(size_t place, size_t bytes) {
  if (bytes == 0) return;
  auto* const pieces = host<StepPieces>(0);
  pieces->pieces[pieces->num_pieces++] = {static_cast<int32_t>(place / 16),
                                          static_cast<int32_t>(round_up_16(bytes) / 16)};
}

// False: more than there is room for.
bool Sampler::count_tokens(const RowSampling& sampling, SampleTask& task) {
  if (!sampling.params.has_penalty()) return true;
  const auto is_known = [&](int32_t id) { return id >= 0 && id < vocab_size_; };
  for (const auto tokens : {sampling.history, sampling.draft}) {
    for (const int32_t id : tokens) {
      if (is_known(id)) ++token_counts_[static_cast<size_t>(id)];
    }
  }
  bool has_room = true;
  for (const auto tokens : {sampling.history, sampling.draft}) {
    for (const int32_t id : tokens) {
      if (!is_known(id)) continue;
      const int32_t count = std::exchange(token_counts_[static_cast<size_t>(id)], 0);
      if (count == 0) continue;
      has_room &= num_counts_ < max_counts_;
      if (!has_room) continue;  // but all go back to zero
      host<TokenCount>(places_.counts)[num_counts_++] = {id, count, 0.0f, 0};
      ++task.num_counts;
    }
  }
  return has_room;
}

void Sampler::write(std::span<const RowSampling> samplings) {
  *host<StepPieces>(0) = {};
  num_counts_ = 0;
  has_masks_ = false;
  has_work_ = !samplings.empty() && vocab_size_ <= kMostSampledVocab;
  is_hosts_.assign(samplings.size(), false);
  for (size_t i = 0; i < samplings.size(); ++i) {
    const RowSampling& sampling = samplings[i];
    const SamplingParams& params = sampling.params;
    SampleTask task{};
    task.uniform = uniform_draw(sampling.seed, sampling.position);
    task.log_min_p = params.min_p > 0.0f ? std::log(static_cast<double>(params.min_p))
                                         : -std::numeric_limits<double>::infinity();
    task.temperature = params.temperature;
    task.top_p = params.top_p;
    task.typical_p = params.typical_p;
    task.repeat_penalty = params.repeat_penalty;
    task.presence_penalty = params.presence_penalty;
    task.frequency_penalty = params.frequency_penalty;
    task.top_k = std::max(params.top_k, 0);
    task.num_top_logprobs = sampling.num_top_logprobs;
    task.first_count = static_cast<int32_t>(num_counts_);
    task.has_mask = !sampling.mask.empty();
    has_masks_ |= task.has_mask != 0;
    // Biases are rare: the kernel does not know them.
    is_hosts_[i] = !count_tokens(sampling, task) || !has_work_ || !sampling.biases.empty();
    host<SampleTask>(places_.tasks)[i] = task;
  }
  add_piece(places_.tasks, samplings.size() * sizeof(SampleTask));
  add_piece(places_.counts, num_counts_ * sizeof(TokenCount));
}

void Sampler::write_masks(std::span<const RowSampling> samplings) {
  const auto words = static_cast<size_t>(mask_words_);
  for (size_t i = 0; i < samplings.size(); ++i) {
    const std::span<const uint32_t> mask = samplings[i].mask;
    if (mask.empty()) continue;
    uint32_t* const to = host<uint32_t>(places_.masks) + i * words;
    const size_t count = std::min(mask.size(), words);
    std::copy_n(mask.begin(), count, to);
    std::fill(to + count, to + words, 0);
  }
  add_piece(places_.masks, samplings.size() * words * 4);
}

void Sampler::add_launches(LaunchList& list, float* logits, int64_t stride, int num_rows) const {
  add_launch(list, "load_step", {4}, {256}, 0, LoadStepArgs{pinned_.data(), mirror_.data()});
  SampleArgs args{};
  args.logits = logits;
  args.stride = stride;
  args.vocab_size = vocab_size_;
  args.mask_words = mask_words_;
  args.tasks = reinterpret_cast<const SampleTask*>(mirror_.data() + places_.tasks);
  args.counts = reinterpret_cast<TokenCount*>(mirror_.data() + places_.counts);
  args.masks = reinterpret_cast<const uint32_t*>(mirror_.data() + places_.masks);
  args.results = reinterpret_cast<SampleResult*>(results_.data());
  add_launch(list, "sample", {static_cast<uint32_t>(num_rows)}, {kSampleThreads},
             kSampleSharedBytes, args);
}

bool Sampler::take(size_t index, const RowSampling& sampling, SampledToken& token) const {
  const SampleResult& result = reinterpret_cast<const SampleResult*>(results_.data())[index];
  if (is_hosts_[index] || result.token == kSampleOnHost) return false;
  token = {};
  token.token = result.token;
  if (sampling.num_top_logprobs < 0 || result.token < 0) return true;
  token.logprob = logprob_of(result.logit, result);
  try {
    for (int i = 0; i < result.num_top; ++i) {
      token.top.push_back({result.top[i].token, logprob_of(result.top[i].logit, result)});
    }
  } catch (const std::bad_alloc&) {
    token = {kNoMemory, 0, {}};
  }
  return true;
}

}  // namespace sluice::backend::cuda
