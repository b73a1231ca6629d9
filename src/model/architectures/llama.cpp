#include "base/error.h"
#include "model/architectures/architectures.h"

namespace sluice::model {

// Llama 2, 3, 3.1, 3.2, SmolLM2, Mistral. GGUF stores q and k so that rotary pairs are neighbours.
ModelSpec read_llama(const MetadataReader& reader) {
  if (reader.int_or("expert_count", 0, 0, 4096) > 0) {
    throw Error(ErrorCode::kUnsupported, "mixture-of-experts llama models are not supported yet");
  }
  ModelSpec spec = read_common(reader);
  spec.rope.is_interleaved = true;
  spec.has_qkv_bias = reader.file().find_tensor("blk.0.attn_q.bias") != nullptr;
  return spec;
}

}  // namespace sluice::model
