#include <cmath>

#include "model/architectures/architectures.h"

namespace sluice::model {

// Gemma 3 (text): five layers with a sliding window, then one that sees all; each kind has its own
// rotary base. Norm weights in GGUF already contain the "+ 1".
ModelSpec read_gemma3(const MetadataReader& reader) {
  constexpr int kWindowPattern = 6;
  constexpr float kLocalRopeBase = 10000.0f;
  // Of the published sizes only the 27B scales scores by its width per head, not by the head's
  // size.
  constexpr int kLayersOf27B = 62;

  ModelSpec spec = read_common(reader);
  spec.rope.is_interleaved = false;
  spec.activation = backend::Activation::kGeluTanh;
  spec.embedding_scale = std::sqrt(static_cast<float>(spec.embedding_length));
  spec.has_qk_norm = true;
  spec.has_post_norms = true;
  spec.sliding_window = reader.int_or("attention.sliding_window", 0, 0, 1 << 20);
  spec.window_pattern = kWindowPattern;
  RopeSpec local = spec.rope;
  local.freq_base = reader.float_or("rope.freq_base_swa", kLocalRopeBase, 1.0f, 1e12f);
  local.freq_scale = 1.0f;
  spec.local_rope = local;
  if (spec.num_layers == kLayersOf27B) {
    spec.attention_scale =
        1.0f / std::sqrt(static_cast<float>(spec.embedding_length / spec.num_heads));
  }
  spec.logit_softcap = reader.float_or("final_logit_softcapping", 0.0f, 0.0f, 1e6f);
  return spec;
}

}  // namespace sluice::model
