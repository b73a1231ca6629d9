#include "measure/perplexity.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <fstream>
#include <numeric>
#include <optional>
#include <span>
#include <thread>
#include <vector>

#include "base/error.h"
#include "base/input_file.h"
#include "base/threads.h"

namespace sluice::measure {
namespace {

using text::TokenId;

// One position's log-probabilities as base files keep them: log p = scale * code + minimum, padded
// to an even number of codes, behind a header of two floats. Everything more than 16 below the best
// is cut there.
constexpr float kLogRange = 16.0f;
constexpr size_t kHeaderCodes = 4;  // two floats, counted in codes

size_t codes_per_row(int vocab_size) {
  return 2 * ((static_cast<size_t>(vocab_size) + 1) / 2) + kHeaderCodes;
}

struct LogSoftmax {
  float max_logit = 0;
  float min_logit = 0;
  size_t best = 0;
  double log_sum = 0;  // log p = logit - max_logit - log_sum

  explicit LogSoftmax(std::span<const float> logits) {
    const auto [min, max] = std::minmax_element(logits.begin(), logits.end());
    max_logit = *max;
    min_logit = *min;
    best = static_cast<size_t>(max - logits.begin());
    double sum = 0.0;
    for (const float logit : logits) sum += std::exp(logit - max_logit);
    log_sum = std::log(sum);
  }
  double log_probability(float logit) const { return logit - max_logit - log_sum; }
};

void encode_row(std::span<const float> logits, const LogSoftmax& softmax, uint16_t* codes) {
  const float minimum = std::max(softmax.min_logit, softmax.max_logit - kLogRange);
  const float scale = (softmax.max_logit - minimum) / 65535.0f;
  const float header[2] = {scale, static_cast<float>(softmax.log_probability(minimum))};
  std::memcpy(codes, header, sizeof(header));
  codes += kHeaderCodes;
  for (size_t i = 0; i < logits.size(); ++i) {
    codes[i] = logits[i] > minimum
                   ? static_cast<uint16_t>(std::lrint((logits[i] - minimum) / scale))
                   : uint16_t{0};
  }
}

struct Divergence {
  double kl = 0;
  double base_log_probability = 0;  // of the token that follows
  bool is_same_top = false;
};

Divergence compare_row(std::span<const float> logits, const LogSoftmax& softmax,
                       const uint16_t* codes, TokenId next) {
  float header[2];
  std::memcpy(header, codes, sizeof(header));
  codes += kHeaderCodes;
  Divergence result;
  size_t base_best = 0;
  for (size_t i = 0; i < logits.size(); ++i) {
    const double base = static_cast<double>(header[0]) * codes[i] + header[1];
    if (codes[i] > codes[base_best]) base_best = i;
    if (base > -kLogRange) {
      result.kl += std::exp(base) * (base - softmax.log_probability(logits[i]));
    }
  }
  result.base_log_probability =
      static_cast<double>(header[0]) * codes[static_cast<size_t>(next)] + header[1];
  // The base's 16-bit codes may tie at the top: then our best need only be one of the tied.
  result.is_same_top = codes[softmax.best] == codes[base_best];
  return result;
}

// The header of a base file, then the tokens, then the rows of each window.
struct BaseHeader {
  char magic[8];
  int32_t context;
  int32_t vocab_size;
  int32_t num_windows;
};
constexpr char kBaseMagic[] = "_logits_";
static_assert(sizeof(BaseHeader) == 20);

class BaseWriter {
 public:
  BaseWriter(const std::string& path, const BaseHeader& header, std::span<const TokenId> tokens)
      : path_(path), file_(path, std::ios::binary) {
    write(&header, sizeof(header));
    write(tokens.data(), tokens.size_bytes());
  }
  void write(const void* data, size_t size_bytes) {
    file_.write(static_cast<const char*>(data), static_cast<std::streamsize>(size_bytes));
    if (!file_) throw io_error("cannot write", path_, errno);
  }

 private:
  std::string path_;
  std::ofstream file_;
};

class BaseReader {
 public:
  BaseReader(const std::string& path, const BaseHeader& expected, std::span<const TokenId> tokens)
      : file_(path) {
    BaseHeader header;
    read(&header, sizeof(header));
    if (std::memcmp(header.magic, kBaseMagic, sizeof(header.magic)) != 0) {
      throw Error(ErrorCode::kCorruptData, path + " is not a base file of log-probabilities");
    }
    if (header.context != expected.context || header.vocab_size != expected.vocab_size ||
        header.num_windows < expected.num_windows) {
      throw Error(ErrorCode::kCorruptData,
                  path + " was made with another context, vocabulary or text");
    }
    std::vector<TokenId> base_tokens(static_cast<size_t>(header.context) *
                                     static_cast<size_t>(header.num_windows));
    read(base_tokens.data(), base_tokens.size() * sizeof(TokenId));
    if (!std::equal(tokens.begin(), tokens.end(), base_tokens.begin())) {
      throw Error(ErrorCode::kCorruptData, path + " was made from other tokens: another text?");
    }
  }
  // The next bytes.
  void read(void* data, size_t size_bytes) {
    if (size_bytes > file_.size_bytes() - offset_) {
      throw Error(ErrorCode::kCorruptData, file_.path() + " ends too early");
    }
    file_.read(offset_, {static_cast<std::byte*>(data), size_bytes});
    offset_ += size_bytes;
  }

 private:
  InputFile file_;
  uint64_t offset_ = 0;
};

// Sums over all scored positions.
struct Totals {
  double nll = 0;
  double nll_squared = 0;
  double base_nll = 0;
  int64_t count = 0;
  int64_t num_same_top = 0;
  std::vector<double> kl;
};

class Measurement {
 public:
  Measurement(model::Model& model, const text::Tokenizer& tokenizer,
              const PerplexityOptions& options)
      : model_(model), options_(options), vocab_size_(model.spec().vocab_size) {
    if (options.context < 8 || options.step_tokens < 1) {
      throw Error(ErrorCode::kInvalidArgument, "the context must hold at least 8 tokens");
    }
    if (tokenizer.adds_bos()) bos_ = tokenizer.bos();
    block_table_.resize(static_cast<size_t>(backend::blocks_for_tokens(options.context)));
    std::iota(block_table_.begin(), block_table_.end(), 0);
  }

  PerplexityResult run(std::vector<TokenId> tokens) {
    const int context = options_.context;
    int num_windows = static_cast<int>(tokens.size()) / context;
    if (num_windows < 1) {
      throw Error(ErrorCode::kInvalidArgument, "the text has " + std::to_string(tokens.size()) +
                                                   " tokens, one window needs " +
                                                   std::to_string(context));
    }
    if (options_.max_windows > 0) num_windows = std::min(num_windows, options_.max_windows);
    tokens.resize(static_cast<size_t>(num_windows) * static_cast<size_t>(context));

    BaseHeader header{{}, context, vocab_size_, num_windows};
    std::memcpy(header.magic, kBaseMagic, sizeof(header.magic));
    if (!options_.save_base.empty()) writer_.emplace(options_.save_base, header, tokens);
    if (!options_.kl_base.empty()) reader_.emplace(options_.kl_base, header, tokens);

    const auto start = std::chrono::steady_clock::now();
    for (int window = 0; window < num_windows; ++window) {
      run_window(std::span(tokens).subspan(static_cast<size_t>(window) * context, context));
      if (options_.on_window) {
        options_.on_window(window + 1, num_windows,
                           std::exp(totals_.nll / static_cast<double>(totals_.count)));
      }
    }
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    PerplexityResult result = summary();
    result.num_windows = num_windows;
    result.tokens_per_second = static_cast<double>(tokens.size()) / seconds.count();
    return result;
  }

 private:
  void run_window(std::span<TokenId> tokens) {
    if (bos_) tokens[0] = *bos_;
    const int context = options_.context;
    const int first_scored = context / 2;
    for (int begin = 0; begin < context; begin += options_.step_tokens) {
      const int count = std::min(options_.step_tokens, context - begin);
      backend::Batch batch;
      batch.tokens.assign(tokens.begin() + begin, tokens.begin() + begin + count);
      batch.sequences.push_back({0, count, begin, block_table_});
      for (int i = std::max(begin, first_scored); i < std::min(begin + count, context - 1); ++i) {
        batch.logit_rows.push_back(i - begin);
      }
      const std::span<const float> logits = model_.backend().forward(batch).logits;
      if (!batch.logit_rows.empty()) {
        const size_t first_next = static_cast<size_t>(begin + batch.logit_rows[0] + 1);
        score(logits, tokens.subspan(first_next, batch.logit_rows.size()));
      }
    }
  }

  // `next[i]` is the token that row i of the logits should have predicted.
  void score(std::span<const float> logits, std::span<const TokenId> next) {
    const size_t num_rows = next.size();
    const size_t vocab_size = static_cast<size_t>(vocab_size_);
    const size_t row_codes = codes_per_row(vocab_size_);
    codes_.resize((writer_ || reader_) ? num_rows * row_codes : 0);
    if (reader_) reader_->read(codes_.data(), codes_.size() * sizeof(uint16_t));
    std::vector<double> log_probabilities(num_rows);
    std::vector<Divergence> divergences(num_rows);
    const auto score_row = [&](size_t r) {
      const auto row = logits.subspan(r * vocab_size, vocab_size);
      const LogSoftmax softmax(row);
      uint16_t* codes = codes_.data() + r * row_codes;
      log_probabilities[r] = softmax.log_probability(row[static_cast<size_t>(next[r])]);
      if (writer_) encode_row(row, softmax, codes);
      if (reader_) divergences[r] = compare_row(row, softmax, codes, next[r]);
    };
    {
      const size_t num_threads = static_cast<size_t>(usable_cores());
      std::vector<std::jthread> threads;
      for (size_t thread = 0; thread < num_threads; ++thread) {
        threads.emplace_back([&, thread] {
          for (size_t r = thread; r < num_rows; r += num_threads) score_row(r);
        });
      }
    }
    if (writer_) writer_->write(codes_.data(), codes_.size() * sizeof(uint16_t));
    for (size_t r = 0; r < num_rows; ++r) add(log_probabilities[r], divergences[r]);
  }

  void add(double log_probability, const Divergence& divergence) {
    totals_.nll -= log_probability;
    totals_.nll_squared += log_probability * log_probability;
    ++totals_.count;
    if (reader_) {
      totals_.base_nll -= divergence.base_log_probability;
      totals_.num_same_top += divergence.is_same_top;
      totals_.kl.push_back(divergence.kl);
    }
  }

  PerplexityResult summary() {
    PerplexityResult result;
    const double count = static_cast<double>(totals_.count);
    const double mean = totals_.nll / count;
    const double variance = totals_.nll_squared / count - mean * mean;
    result.num_scored = totals_.count;
    result.perplexity = std::exp(mean);
    result.perplexity_error =
        result.perplexity * std::sqrt(std::max(0.0, variance) / std::max(1.0, count - 1.0));
    if (reader_) {
      std::vector<double>& kl = totals_.kl;
      std::sort(kl.begin(), kl.end());
      result.has_divergence = true;
      result.base_perplexity = std::exp(totals_.base_nll / count);
      result.mean_kl = std::accumulate(kl.begin(), kl.end(), 0.0) / count;
      result.median_kl = kl[kl.size() / 2];
      result.kl_99_9 = kl[static_cast<size_t>(0.999 * static_cast<double>(kl.size() - 1))];
      result.max_kl = kl.back();
      result.same_top_share = static_cast<double>(totals_.num_same_top) / count;
    }
    return result;
  }

  model::Model& model_;
  const PerplexityOptions& options_;
  int vocab_size_;
  std::optional<TokenId> bos_;
  std::vector<int32_t> block_table_;
  std::optional<BaseWriter> writer_;
  std::optional<BaseReader> reader_;
  std::vector<uint16_t> codes_;
  Totals totals_;
};

}  // namespace

int perplexity_logit_rows(const PerplexityOptions& options) {
  return std::min(options.step_tokens, options.context - options.context / 2);
}

PerplexityResult measure_perplexity(model::Model& model, const text::Tokenizer& tokenizer,
                                    std::string_view text, const PerplexityOptions& options) {
  text::EncodeOptions encode;
  encode.add_special = true;
  encode.parse_special = false;
  return Measurement(model, tokenizer, options).run(tokenizer.encode(text, encode));
}

}  // namespace sluice::measure
