#pragma once

#include <string>

#include "gguf/file.h"
#include "store/manifest.h"

namespace sluice::store {

// The config of a model made from this file: architecture, parameter count, quantization, lengths.
// Throws Error(kCorruptData) when general.architecture is missing.
ModelConfig config_from_gguf(const gguf::File& file);

// The params layer that Ollama's create gives a model with this chat template: the marks around its
// turns as stop strings. "" for a template of a family that is not known.
std::string params_from_gguf(const gguf::File& file);

}  // namespace sluice::store
