#include <cmath>

#include "base/error.h"
#include "model/architectures/architectures.h"

namespace sluice::model {

namespace {

constexpr float kGlobalRopeBase = 1e6f;
constexpr float kLocalRopeBase = 10000.0f;

// Ollama's own files leave out what is the same for all sizes, spell the rotary bases in another
// way, and list tokens of images behind those of the text.
CommonDefaults defaults_of(const MetadataReader& reader) {
  CommonDefaults defaults;
  defaults.norm_eps = 1e-6f;
  defaults.rope_freq_base = reader.float_or("rope.global.freq_base", kGlobalRopeBase, 1.0f, 1e12f);
  defaults.may_have_more_tokens = true;
  return defaults;
}

// Nor do they say that the long contexts are stretched ones.
void stretch_long_context(const MetadataReader& reader, ModelSpec& spec) {
  constexpr int kStretched = 131'072;
  if (spec.context_length < kStretched || reader.has("rope.scaling.type")) return;
  spec.rope.freq_scale = 1.0f / 8;
}

}  // namespace

// Gemma 3 (text): five layers with a sliding window, then one that sees all; each kind has its own
// rotary base. Norm weights in GGUF already contain the "+ 1".
ModelSpec read_gemma3(const MetadataReader& reader) {
  constexpr int kWindowPattern = 6;
  // Of the published sizes only the 27B scales scores by its width per head, not by the head's
  // size.
  constexpr int kLayersOf27B = 62;

  if (reader.file().find_tensor("dense.0.weight") != nullptr) {
    throw Error(ErrorCode::kUnsupported,
                "EmbeddingGemma is not supported: its attention sees what comes later");
  }
  if (reader.string_or("rope.scaling.type", "none") == "yarn") {
    throw Error(ErrorCode::kUnsupported, "rope scaling 'yarn' is not supported for gemma3");
  }
  ModelSpec spec = read_common(reader, defaults_of(reader));
  stretch_long_context(reader, spec);
  spec.rope.is_interleaved = false;
  spec.activation = backend::Activation::kGeluTanh;
  spec.embedding_scale = std::sqrt(static_cast<float>(spec.embedding_length));
  spec.has_qk_norm = true;
  spec.has_post_norms = true;
  spec.sliding_window = reader.int_or("attention.sliding_window", 0, 0, 1 << 20);
  spec.window_pattern = kWindowPattern;
  RopeSpec local = spec.rope;
  const float local_base = reader.float_or("rope.local.freq_base", kLocalRopeBase, 1.0f, 1e12f);
  local.freq_base = reader.float_or("rope.freq_base_swa", local_base, 1.0f, 1e12f);
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
