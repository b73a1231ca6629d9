#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "model/model.h"
#include "text/tokenizer.h"

namespace sluice::measure {

// The protocol of llama.cpp's perplexity tool, so that figures compare: the text is cut into
// windows of `context` tokens (each starting with BOS where the model wants one), and the second
// half of each window is scored.
struct PerplexityOptions {
  int context = 512;
  int step_tokens = 512;  // tokens a forward step; 1 measures the decode path
  int max_windows = 0;    // 0: all of the text
  // Base files hold every scored position's log-probabilities in 16 bits, in the layout of
  // llama.cpp's --kl-divergence-base, so that either program reads the other's. "": none.
  std::string save_base;
  std::string kl_base;
  std::function<void(int done, int total, double perplexity)> on_window;
};

struct PerplexityResult {
  int num_windows = 0;
  int64_t num_scored = 0;
  double perplexity = 0;
  double perplexity_error = 0;  // one standard error
  double tokens_per_second = 0;

  // Against kl_base.
  bool has_divergence = false;
  double base_perplexity = 0;
  double mean_kl = 0;
  double median_kl = 0;
  double kl_99_9 = 0;  // 99.9th percentile
  double max_kl = 0;
  double same_top_share = 0;  // of the positions, from 0 to 1
};

// Most rows of logits in one step; the model must be loaded with at least this max_logit_rows.
int perplexity_logit_rows(const PerplexityOptions& options);

// Uses the model's cache from block 0 on (`context` tokens). Throws Error: kInvalidArgument when
// the text is shorter than one window, kCorruptData for a base file that does not fit model and
// text, kNoSpace when the base cannot be written.
PerplexityResult measure_perplexity(model::Model& model, const text::Tokenizer& tokenizer,
                                    std::string_view text, const PerplexityOptions& options);

}  // namespace sluice::measure
