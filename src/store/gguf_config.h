#pragma once

#include "gguf/file.h"
#include "store/manifest.h"

namespace sluice::store {

// The config of a model made from this file: architecture, parameter count, quantization, lengths.
// Throws Error(kCorruptData) when general.architecture is missing.
ModelConfig config_from_gguf(const gguf::File& file);

}  // namespace sluice::store
