#pragma once

#include <string>

#include "convert/mix.h"
#include "convert/safetensors.h"
#include "convert/tensor_writer.h"

namespace sluice::convert {

struct HfOptions {
  std::string name;          // general.name; may be ""
  const Mix* mix = nullptr;  // null: what the files have, f32, f16 or bf16
  WriteOptions write;
};

// Writes the GGUF of a Hugging Face model: config.json, safetensors, a vocabulary (see
// hf_vocabulary.h). Llama, Mistral, Qwen 2 and 3, Gemma 3 (the text part). Throws Error: kNotFound
// for a file that is missing; kUnsupported naming the architecture, feature or tensor;
// kCorruptData; what write_tensors does.
void convert_hf(const ModelFiles& files, store::TemporaryFile& out, const HfOptions& options = {});

}  // namespace sluice::convert
