#include "convert/mix.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdlib>
#include <optional>

#include "base/error.h"
#include "base/print.h"

namespace sluice::convert {
namespace {

using quant::Type;

// The numbers are llama.h's, enum llama_ftype.
constexpr std::array kMixes = {
    Mix{"q4_0", 2, Type::kQ4_0},    Mix{"q4_K_S", 14, Type::kQ4_K}, Mix{"q4_K_M", 15, Type::kQ4_K},
    Mix{"q4_1", 3, Type::kQ4_1},    Mix{"q5_0", 8, Type::kQ5_0},    Mix{"q5_K_S", 16, Type::kQ5_K},
    Mix{"q5_K_M", 17, Type::kQ5_K}, Mix{"q5_1", 9, Type::kQ5_1},    Mix{"q6_K", 18, Type::kQ6_K},
    Mix{"q8_0", 7, Type::kQ8_0},    Mix{"bf16", 32, Type::kBF16},   Mix{"f16", 1, Type::kF16},
    Mix{"f32", 0, Type::kF32},
};
enum FileType : uint32_t { kQ4_K_S = 14, kQ4_K_M = 15, kQ5_K_M = 17 };

std::string lower_case(std::string_view text) {
  std::string lower(text);
  for (char& c : lower) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return lower;
}

bool contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

// Small tensors that decide much, and those that are no operand of a matrix product.
bool keeps_its_type(const TensorFacts& tensor) {
  constexpr std::string_view kKept[] = {"_norm.weight",   "ffn_gate_inp.weight",
                                        "position_embd",  "token_types",
                                        "altup",          "laurel",
                                        "ssm_conv1d",     "per_layer_model_proj",
                                        "time_mix_",      "attn_rel_b.weight",
                                        "patch_embd",     "patch_merger",
                                        "shortconv.conv", "ffn_gate_tid2eid.weight"};
  if (tensor.shape.size() < 2 || !tensor.name.ends_with("weight")) return true;
  return std::any_of(std::begin(kKept), std::end(kKept),
                     [&](std::string_view part) { return contains(tensor.name, part); });
}

bool is_quantized(Type type) { return quant::type_info(type).block_elements > 1; }

enum class Role { kOutput, kValues, kFusedAttention, kKeys, kAttentionOutput, kDown, kOther };

Role role_of(std::string_view name) {
  if (name == "output.weight") return Role::kOutput;
  if (contains(name, "attn_qkv.weight")) return Role::kFusedAttention;
  if (contains(name, "attn_v.weight") || contains(name, "attn_kv_b.weight")) return Role::kValues;
  if (contains(name, "attn_k.weight")) return Role::kKeys;
  if (contains(name, "attn_output.weight")) return Role::kAttentionOutput;
  if (contains(name, "ffn_down")) return Role::kDown;
  return Role::kOther;
}

// Of "blk.12.attn_v.weight".
int layer_of(std::string_view name) {
  constexpr std::string_view kPrefix = "blk.";
  int layer = 0;
  if (name.starts_with(kPrefix)) {
    std::from_chars(name.data() + kPrefix.size(), name.data() + name.size(), layer);
  }
  return layer;
}

// How far a layer is among those that have such a tensor.
struct Position {
  int index = 0;
  int count = 1;
};

bool gets_more_bits(const Position& layer) {
  const int eighth = layer.count / 8;
  return layer.index < eighth || layer.index >= 7 * layer.count / 8 ||
         (layer.index - eighth) % 3 == 2;
}

Type type_of_values(const Mix& mix, const ModelFacts& model, const Position& layer) {
  constexpr int kLayersOf70B = 80;
  if (model.num_experts == 8) return Type::kQ8_0;  // small beside the experts
  Type type = mix.type;
  if (mix.file_type == kQ4_K_M || mix.file_type == kQ5_K_M) {
    if (gets_more_bits(layer)) type = Type::kQ6_K;
  } else if (mix.file_type == kQ4_K_S && layer.index < 4) {
    type = Type::kQ5_K;
  }
  // There attn_v is an eighth of attn_q: more bits cost next to nothing.
  const bool is_70b = model.num_layers == kLayersOf70B && model.has_grouped_heads;
  return is_70b && type == Type::kQ4_K ? Type::kQ5_K : type;
}

Type type_of_down(const Mix& mix, const Position& layer) {
  switch (mix.file_type) {
    case kQ4_K_M:
    case kQ5_K_M:
      return gets_more_bits(layer) ? Type::kQ6_K : mix.type;
    case kQ4_K_S:
      return layer.index < layer.count / 8 ? Type::kQ5_K : mix.type;
    default:
      return mix.type;
  }
}

Type type_of_output(const Mix& mix, int64_t columns) {
  if (columns % quant::type_info(mix.type).block_elements != 0) return Type::kQ8_0;
  return mix.type == Type::kQ8_0 ? Type::kQ8_0 : Type::kQ6_K;
}

Type type_of_role(const Mix& mix, const ModelFacts& model, Role role, const Position& layer,
                  int64_t columns) {
  switch (role) {
    case Role::kOutput:
      return type_of_output(mix, columns);
    case Role::kValues:
      return type_of_values(mix, model, layer);
    case Role::kFusedAttention:
      if (mix.file_type == kQ4_K_M) return Type::kQ5_K;
      return mix.file_type == kQ5_K_M ? Type::kQ6_K : mix.type;
    case Role::kKeys:
      return model.num_experts == 8 ? Type::kQ8_0 : mix.type;
    case Role::kAttentionOutput:
      return model.num_experts == 8 && mix.type == Type::kQ4_K ? Type::kQ5_K : mix.type;
    case Role::kDown:
      return type_of_down(mix, layer);
    case Role::kOther:
      return mix.type;
  }
  return mix.type;
}

// A type of about that many bits whose blocks make up a row.
Type fit_to_rows(Type type, int64_t columns) {
  const auto fits = [columns](Type t) { return columns % quant::type_info(t).block_elements == 0; };
  if (fits(type)) return type;
  if (type == Type::kQ4_K) type = Type::kQ5_0;
  if (type == Type::kQ5_K) type = Type::kQ5_1;
  if (type == Type::kQ6_K) type = Type::kQ8_0;
  return fits(type) ? type : Type::kF16;
}

// The layers, sorted, that have a tensor of this role. (Experts of a layer may be several.)
std::vector<int> layers_with(Role role, std::span<const TensorFacts> tensors) {
  std::vector<int> layers;
  for (const TensorFacts& tensor : tensors) {
    if (role_of(tensor.name) == role) layers.push_back(layer_of(tensor.name));
  }
  std::sort(layers.begin(), layers.end());
  layers.erase(std::unique(layers.begin(), layers.end()), layers.end());
  return layers;
}

Position position_in(const std::vector<int>& layers, int layer) {
  const auto found = std::lower_bound(layers.begin(), layers.end(), layer);
  return {static_cast<int>(found - layers.begin()), static_cast<int>(layers.size())};
}

}  // namespace

std::span<const Mix> all_mixes() { return kMixes; }

const Mix& find_mix(std::string_view name) {
  std::string wanted = lower_case(name);
  if (wanted == "q4_k" || wanted == "q5_k") wanted += "_m";
  const auto found = std::find_if(kMixes.begin(), kMixes.end(),
                                  [&](const Mix& mix) { return lower_case(mix.name) == wanted; });
  if (found != kMixes.end()) return *found;
  std::string names;
  for (const Mix& mix : kMixes) names += (names.empty() ? "" : ", ") + std::string(mix.name);
  throw Error(ErrorCode::kUnsupported, "unsupported quantization type '" +
                                           printable(name.substr(0, 40)) + "'; there are " + names);
}

ModelFacts model_facts(const gguf::File& file) {
  const std::string prefix(file.get_string("general.architecture").value_or(""));
  const auto number = [&](const char* key) {
    // Some files have one number of heads a layer; those are no 70B of Llama's.
    const gguf::Value* value = file.find(prefix + key);
    if (value == nullptr || std::holds_alternative<gguf::Array>(*value)) return 0;
    return static_cast<int>(std::min<uint64_t>(file.get_uint(prefix + key).value_or(0), 1 << 20));
  };
  const int num_heads = number(".attention.head_count");
  const int num_kv_heads = number(".attention.head_count_kv");
  return {number(".block_count"), number(".expert_count"),
          num_kv_heads > 0 && num_kv_heads < num_heads};
}

std::vector<Type> choose_types(const Mix& mix, const ModelFacts& model,
                               std::span<const TensorFacts> tensors) {
  const std::vector<int> value_layers = layers_with(Role::kValues, tensors);
  const std::vector<int> down_layers = layers_with(Role::kDown, tensors);
  const bool has_output = std::any_of(tensors.begin(), tensors.end(), [](const TensorFacts& t) {
    return t.name == "output.weight";
  });
  std::vector<Type> types;
  for (const TensorFacts& tensor : tensors) {
    if (keeps_its_type(tensor)) {
      types.push_back(tensor.source);
      continue;
    }
    if (!is_quantized(mix.type)) {
      types.push_back(mix.type);
      continue;
    }
    const bool stands_for_output = !has_output && tensor.name == "token_embd.weight";
    const Role role = stands_for_output ? Role::kOutput : role_of(tensor.name);
    const Position layer =
        position_in(role == Role::kDown ? down_layers : value_layers, layer_of(tensor.name));
    const int64_t columns = tensor.shape[0];
    types.push_back(fit_to_rows(type_of_role(mix, model, role, layer, columns), columns));
  }
  return types;
}

}  // namespace sluice::convert
