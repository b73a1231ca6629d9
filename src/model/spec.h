#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "backend/program.h"
#include "gguf/file.h"

namespace sluice::model {

struct RopeSpec {
  bool is_interleaved = false;
  int num_dims = 0;
  float freq_base = 10000.0f;
  float freq_scale = 1.0f;           // linear position scaling: 1 / factor
  std::vector<float> freq_divisors;  // rope_freqs.weight (Llama 3.1), YaRN; empty: none
  float magnitude = 1.0f;            // of rotated queries and keys (YaRN), in attention_scale
};

// How the file wants a text's hidden states made one vector, by GGUF's numbers.
enum class PoolingType { kNone = 0, kMean = 1, kFirst = 2, kLast = 3, kRank = 4 };

// A decoder-only transformer's hyper-parameters, read from GGUF metadata and checked against the
// tensors. An architecture is one function that fills this in (model/architectures/).
struct ModelSpec {
  std::string architecture;  // "llama"
  std::string name;          // general.name, or ""
  int num_layers = 0;
  int embedding_length = 0;
  int num_heads = 0;
  int num_kv_heads = 0;
  int head_dim = 0;
  int feed_forward_length = 0;
  int vocab_size = 0;
  int context_length = 0;  // what it was trained for
  float norm_eps = 1e-5f;
  RopeSpec rope;
  std::optional<RopeSpec> local_rope;  // for layers with a window, where it differs (Gemma 3)
  backend::Activation activation = backend::Activation::kSilu;
  float embedding_scale = 1.0f;
  float attention_scale = 0.0f;  // 1 / sqrt(head_dim) as a rule
  float logit_softcap = 0.0f;    // 0: none
  bool has_qkv_bias = false;
  bool has_qk_norm = false;
  bool has_post_norms = false;               // Gemma: norms behind attention and feed-forward
  int sliding_window = 0;                    // 0: none
  int window_pattern = 0;                    // every n-th layer sees all, the others the window
  PoolingType pooling = PoolingType::kNone;  // kNone: the file does not say
  uint64_t num_parameters = 0;

  bool layer_has_window(int layer) const {
    return sliding_window > 0 && (window_pattern == 0 || (layer + 1) % window_pattern != 0);
  }
};

// Throws Error: kUnsupported naming an architecture or feature we do not have, kCorruptData for
// hyper-parameters that are missing, out of range, or do not fit the tensors.
ModelSpec read_spec(const gguf::File& file);

// Names of the architectures read_spec knows.
std::vector<std::string> supported_architectures();

}  // namespace sluice::model
