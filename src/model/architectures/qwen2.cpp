#include "model/architectures/architectures.h"

namespace sluice::model {

// Qwen 2 and 2.5: biases on q, k and v; rotary pairs half a head apart.
ModelSpec read_qwen2(const MetadataReader& reader) {
  ModelSpec spec = read_common(reader);
  spec.rope.is_interleaved = false;
  spec.has_qkv_bias = true;
  return spec;
}

}  // namespace sluice::model
