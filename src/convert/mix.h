#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "gguf/file.h"
#include "quant/types.h"

namespace sluice::convert {

// What a user asks for when quantizing: a main type, and which tensors get more bits than it.
struct Mix {
  std::string_view name;  // as Ollama writes it: "q4_K_M"
  uint32_t file_type;     // the number of general.file_type
  quant::Type type;       // of most tensors
};

// Every mix there is, smallest first.
std::span<const Mix> all_mixes();

// Without regard to case; "q4_K" and "q5_K" mean their _M. Throws Error(kUnsupported) that lists
// the names.
const Mix& find_mix(std::string_view name);

// What the choice depends on.
struct TensorFacts {
  std::string name;
  std::vector<int64_t> shape;  // as gguf::Tensor has it
  quant::Type source = quant::Type::kF32;
};
struct ModelFacts {
  int num_layers = 0;
  int num_experts = 0;
  bool has_grouped_heads = false;  // fewer heads of keys than of queries
};
ModelFacts model_facts(const gguf::File& file);

// The type of each tensor in this mix, by llama.cpp's rules (src/llama-quant.cpp), so that a name
// means the same there and here:
// - what has one dimension, norms, routers and the like keep their type;
// - the output matrix (or the embedding, where it stands for it) gets Q6_K;
// - in the _M mixes attn_v and ffn_down get Q6_K in the first and last eighth of the layers and in
//   every third between; in q4_K_S the first few get Q5_K;
// - rows that are no multiple of 256 get a type with blocks of 32, others F16.
std::vector<quant::Type> choose_types(const Mix& mix, const ModelFacts& model,
                                      std::span<const TensorFacts> tensors);

}  // namespace sluice::convert
