#include "model/architectures/architectures.h"

namespace sluice::model {

// Qwen 3 (dense), and what was distilled into it: queries and keys are normed head by head, no
// biases as a rule; rotary pairs half a head apart.
ModelSpec read_qwen3(const MetadataReader& reader) {
  ModelSpec spec = read_common(reader);
  spec.rope.is_interleaved = false;
  spec.has_qk_norm = true;
  spec.has_qkv_bias = reader.file().find_tensor("blk.0.attn_q.bias") != nullptr;
  return spec;
}

}  // namespace sluice::model
