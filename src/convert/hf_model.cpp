#include "convert/hf_model.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <numbers>
#include <optional>

#include "base/error.h"
#include "base/input_file.h"
#include "base/print.h"
#include "convert/hf_vocabulary.h"
#include "convert/json_file.h"
#include "quant/codec.h"

namespace sluice::convert {
namespace {

using quant::Type;

[[noreturn]] void unsupported(const std::string& what) {
  throw Error(ErrorCode::kUnsupported, what);
}

struct Family {
  std::string_view hf_name;  // in config.json's "architectures"
  std::string_view gguf_name;
  bool pairs_are_neighbours = false;  // GGUF wants the rows of q and k in another order
  bool is_gemma = false;
};
constexpr std::array kFamilies = {
    Family{"LlamaForCausalLM", "llama", true},
    Family{"MistralForCausalLM", "llama", true},
    Family{"Qwen2ForCausalLM", "qwen2"},
    Family{"Qwen3ForCausalLM", "qwen3"},
    Family{"Gemma3ForCausalLM", "gemma3", false, true},
    Family{"Gemma3ForConditionalGeneration", "gemma3", false, true},
};

const Family& find_family(const Fields& config) {
  const Json* list = config.find("architectures");
  std::string name;
  if (list != nullptr && list->is_array() && !list->empty() && (*list)[0].is_string()) {
    name = (*list)[0].get<std::string>();
  }
  for (const Family& family : kFamilies) {
    if (family.hf_name == name) return family;
  }
  unsupported("models of the architecture '" + printable(name.substr(0, 80)) +
              "' cannot be converted; Llama, Mistral, Qwen 2 and 3 and Gemma 3 can");
}

// The hyper-parameters, with the families' defaults where config.json leaves them out.
struct Shape {
  int64_t width, feed_forward, layers, heads, kv_heads, head_dim, context;
  double norm_eps, rope_base;
  bool has_tied_embeddings;
};

// Where the rotary parameters stand: transformers 5 gathers them, for Gemma by the kind of layer.
Fields rope_fields(const Fields& config) {
  const auto gathered = config.get_object("rope_parameters");
  if (!gathered) return config;
  const auto full = gathered->get_object("full_attention");
  return full ? *full : *gathered;
}

Shape read_shape(const Fields& config, const Family& family) {
  constexpr int64_t kMost = 1 << 22;
  const bool gemma = family.is_gemma;
  Shape shape;
  shape.width = config.require_int("hidden_size", 1, 1 << 20);
  shape.feed_forward = config.require_int("intermediate_size", 1, kMost);
  shape.layers = config.require_int("num_hidden_layers", 1, 4096);
  const auto heads = config.get_int("num_attention_heads", 1, 1 << 16);
  if (!heads && !gemma) config.fail("num_attention_heads is missing");
  shape.heads = heads.value_or(8);
  shape.kv_heads =
      config.get_int("num_key_value_heads", 1, 1 << 16).value_or(gemma ? 4 : shape.heads);
  if (shape.heads % shape.kv_heads != 0) {
    config.fail("num_attention_heads is no multiple of num_key_value_heads");
  }
  shape.head_dim =
      config.get_int("head_dim", 2, 1 << 12).value_or(gemma ? 256 : shape.width / shape.heads);
  if (shape.head_dim < 2 || shape.head_dim % 2 != 0) config.fail("the heads have an odd length");
  shape.context =
      config.get_int("max_position_embeddings", 1, 1 << 30).value_or(gemma ? 131072 : 2048);
  shape.norm_eps = config.get_float("rms_norm_eps").value_or(1e-6);
  shape.rope_base =
      rope_fields(config).get_float("rope_theta").value_or(gemma ? 1'000'000.0 : 10'000.0);
  shape.has_tied_embeddings = config.get_bool("tie_word_embeddings").value_or(gemma);
  return shape;
}

double positive(const Fields& scaling, const char* key) {
  const auto value = scaling.get_float(key);
  if (!value || !(*value > 0.0) || !std::isfinite(*value)) {
    scaling.fail(std::string(key) + " must be a positive number");
  }
  return *value;
}

// Llama 3.1's scaling: what each rotary frequency is divided by. Long waves are stretched by the
// factor, short ones kept, those between interpolated.
std::vector<float> llama3_divisors(const Fields& scaling, const Shape& shape) {
  const double factor = positive(scaling, "factor");
  const double low = positive(scaling, "low_freq_factor");
  const double high = positive(scaling, "high_freq_factor");
  const double original = positive(scaling, "original_max_position_embeddings");
  if (high <= low) scaling.fail("high_freq_factor must be larger than low_freq_factor");
  std::vector<float> divisors;
  for (int64_t i = 0; i < shape.head_dim; i += 2) {
    const double turn = static_cast<double>(i) / static_cast<double>(shape.head_dim);
    const double wave = 2.0 * std::numbers::pi * std::pow(shape.rope_base, turn);
    const double share = std::clamp((original / wave - low) / (high - low), 0.0, 1.0);
    divisors.push_back(static_cast<float>(1.0 / ((1.0 - share) / factor + share)));
  }
  return divisors;
}

// GGUF's words for YaRN's parameters.
struct YarnFields {
  double factor = 1.0;
  int64_t original_context = 0;
  double beta_fast = 32.0, beta_slow = 1.0;
  double attention_factor = 1.0;  // times what the factor makes by itself
};

YarnFields read_yarn(const Fields& scaling, const Shape& shape) {
  if (scaling.find("mscale") != nullptr || scaling.find("mscale_all_dim") != nullptr) {
    unsupported("rope scaling 'yarn' with mscale cannot be converted");
  }
  YarnFields yarn;
  yarn.factor = positive(scaling, "factor");
  yarn.original_context =
      scaling.get_int("original_max_position_embeddings", 1, 1 << 30).value_or(shape.context);
  if (scaling.find("beta_fast") != nullptr) yarn.beta_fast = positive(scaling, "beta_fast");
  if (scaling.find("beta_slow") != nullptr) yarn.beta_slow = positive(scaling, "beta_slow");
  if (scaling.find("attention_factor") != nullptr) {
    yarn.attention_factor =
        positive(scaling, "attention_factor") / (0.1 * std::log(std::max(yarn.factor, 1.0)) + 1.0);
  }
  return yarn;
}

struct Rope {
  double linear_factor = 1.0;
  std::vector<float> divisors;
  std::optional<YarnFields> yarn;
};

Rope read_rope(const Fields& config, const Shape& shape) {
  auto scaling = config.get_object("rope_scaling");
  if (config.find("rope_parameters") != nullptr) scaling = rope_fields(config);
  if (!scaling) return {};
  std::string type = scaling->get_string("rope_type").value_or("");
  if (type.empty()) type = scaling->get_string("type").value_or("default");
  if (type == "default") return {};
  if (type == "llama3") return {1.0, llama3_divisors(*scaling, shape), {}};
  if (type == "yarn") return {1.0, {}, read_yarn(*scaling, shape)};
  if (type == "linear") {
    const double factor = scaling->get_float("factor").value_or(0.0);
    if (!(factor > 0.0)) scaling->fail("factor must be a positive number");
    return {factor, {}, {}};
  }
  unsupported("rope scaling '" + printable(type.substr(0, 40)) +
              "' cannot be converted; linear, llama3 and yarn can");
}

double local_rope_base(const Fields& config) {
  if (const auto gathered = config.get_object("rope_parameters")) {
    if (const auto local = gathered->get_object("sliding_attention")) {
      return local->get_float("rope_theta").value_or(10'000.0);
    }
  }
  return config.get_float("rope_local_base_freq").value_or(10'000.0);
}

void refuse_what_we_lack(const Fields& config, const Family& family) {
  if (family.gguf_name.starts_with("qwen") &&
      config.get_bool("use_sliding_window").value_or(false)) {
    unsupported("config.json: use_sliding_window is not supported");
  }
  if (config.get_int("num_local_experts", 0, 1 << 20).value_or(0) > 0) {
    unsupported("config.json: mixtures of experts cannot be converted yet");
  }
}

gguf::Writer describe(const Fields& config, const Family& family, const Shape& shape,
                      const Rope& rope, const std::string& name) {
  gguf::Writer head;
  const std::string prefix = std::string(family.gguf_name) + ".";
  const auto set = [&](const char* key, int64_t value) {
    head.set_uint32(prefix + key, static_cast<uint32_t>(value));
  };
  head.set_string("general.architecture", std::string(family.gguf_name));
  if (!name.empty()) head.set_string("general.name", name);
  set("block_count", shape.layers);
  set("context_length", shape.context);
  set("embedding_length", shape.width);
  set("feed_forward_length", shape.feed_forward);
  set("attention.head_count", shape.heads);
  set("attention.head_count_kv", shape.kv_heads);
  set("attention.key_length", shape.head_dim);
  set("attention.value_length", shape.head_dim);
  set("rope.dimension_count", shape.head_dim);
  head.set_float32(prefix + "attention.layer_norm_rms_epsilon", static_cast<float>(shape.norm_eps));
  head.set_float32(prefix + "rope.freq_base", static_cast<float>(shape.rope_base));
  if (rope.linear_factor != 1.0) {
    head.set_string(prefix + "rope.scaling.type", "linear");
    head.set_float32(prefix + "rope.scaling.factor", static_cast<float>(rope.linear_factor));
  }
  if (rope.yarn) {
    head.set_string(prefix + "rope.scaling.type", "yarn");
    head.set_float32(prefix + "rope.scaling.factor", static_cast<float>(rope.yarn->factor));
    set("rope.scaling.original_context_length", rope.yarn->original_context);
    const auto set_unless = [&](const char* key, double value, double usual) {
      if (value != usual) head.set_float32(prefix + key, static_cast<float>(value));
    };
    set_unless("rope.scaling.yarn_beta_fast", rope.yarn->beta_fast, 32.0);
    set_unless("rope.scaling.yarn_beta_slow", rope.yarn->beta_slow, 1.0);
    set_unless("rope.scaling.attn_factor", rope.yarn->attention_factor, 1.0);
  }
  if (family.is_gemma) {
    set("attention.sliding_window", config.get_int("sliding_window", 1, 1 << 20).value_or(4096));
    head.set_float32(prefix + "rope.freq_base_swa", static_cast<float>(local_rope_base(config)));
    if (const auto cap = config.get_float("final_logit_softcapping")) {
      head.set_float32(prefix + "final_logit_softcapping", static_cast<float>(*cap));
    }
  }
  return head;
}

// GGUF's name for a tensor of a layer; "" for one that is not known.
std::string_view layer_name(std::string_view stem, bool is_gemma) {
  struct Pair {
    std::string_view hf, gguf;
  };
  constexpr std::array kPairs = {
      Pair{"self_attn.q_proj", "attn_q"},      Pair{"self_attn.k_proj", "attn_k"},
      Pair{"self_attn.v_proj", "attn_v"},      Pair{"self_attn.o_proj", "attn_output"},
      Pair{"self_attn.q_norm", "attn_q_norm"}, Pair{"self_attn.k_norm", "attn_k_norm"},
      Pair{"mlp.gate_proj", "ffn_gate"},       Pair{"mlp.up_proj", "ffn_up"},
      Pair{"mlp.down_proj", "ffn_down"},       Pair{"input_layernorm", "attn_norm"},
  };
  if (stem == "post_attention_layernorm") return is_gemma ? "post_attention_norm" : "ffn_norm";
  if (is_gemma && stem == "pre_feedforward_layernorm") return "ffn_norm";
  if (is_gemma && stem == "post_feedforward_layernorm") return "post_ffw_norm";
  for (const Pair& pair : kPairs) {
    if (pair.hf == stem) return pair.gguf;
  }
  return "";
}

// GGUF's name, or "" for one that is not known.
std::string gguf_name(std::string_view name, const Family& family, int64_t num_layers) {
  if (name == "model.embed_tokens.weight") return "token_embd.weight";
  if (name == "model.norm.weight") return "output_norm.weight";
  if (name == "lm_head.weight") return "output.weight";
  constexpr std::string_view kLayers = "model.layers.";
  if (!name.starts_with(kLayers)) return "";
  name.remove_prefix(kLayers.size());
  int64_t layer = -1;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), layer);
  if (error != std::errc() || layer < 0 || layer >= num_layers) return "";
  name.remove_prefix(static_cast<size_t>(end - name.data()));
  const size_t dot = name.rfind('.');
  if (!name.starts_with('.') || dot == 0) return "";
  const std::string_view kind = name.substr(dot);
  if (kind != ".weight" && kind != ".bias") return "";
  const std::string_view stem = layer_name(name.substr(1, dot - 1), family.is_gemma);
  if (stem.empty()) return "";
  return "blk." + std::to_string(layer) + "." + std::string(stem) + std::string(kind);
}

// Names of a vision model's text part begin with this; older files have it behind "model.".
std::string plain_name(const std::string& name) {
  for (const std::string_view prefix : {"language_model.", "model.language_model."}) {
    if (!name.starts_with(prefix)) continue;
    const std::string rest = name.substr(prefix.size());
    return rest.starts_with("model.") || rest == "lm_head.weight" ? rest : "model." + rest;
  }
  return name;
}

bool is_left_out(const std::string& name, bool has_tied_embeddings) {
  return name.ends_with("rotary_emb.inv_freq") || name.starts_with("vision_tower.") ||
         name.starts_with("multi_modal_projector.") || name.starts_with("model.vision_tower.") ||
         name.starts_with("model.multi_modal_projector.") ||
         (has_tied_embeddings && name.ends_with("lm_head.weight"));
}

Type type_of(const SafeTensor& tensor) {
  if (tensor.dtype == "F32") return Type::kF32;
  if (tensor.dtype == "F16") return Type::kF16;
  if (tensor.dtype == "BF16") return Type::kBF16;
  unsupported("tensor " + printable(tensor.name) + " has the type " + tensor.dtype +
              "; F32, F16 and BF16 can be converted");
}

void read_values(const SafeTensor& tensor, Type type, int64_t first, std::span<float> values) {
  const auto count = static_cast<int64_t>(values.size());
  std::vector<std::byte> bytes(quant::size_bytes(type, count));
  tensor.data.read(quant::size_bytes(type, first), bytes);
  quant::dequantize(type, bytes.data(), values.data(), count);
}

// GGUF keeps the two rows of a rotary pair side by side, Hugging Face half a head apart.
int64_t source_row(int64_t row, int64_t head_dim) {
  const int64_t within = row % head_dim;
  return row - within + within % 2 * (head_dim / 2) + within / 2;
}

PlannedTensor plan_tensor(const SafeTensor& tensor, std::string name, const Family& family,
                          const Shape& shape) {
  const Type type = type_of(tensor);
  PlannedTensor planned;
  planned.type = type;
  planned.shape.assign(tensor.shape.rbegin(), tensor.shape.rend());
  const bool is_bad =
      planned.shape.empty() || planned.shape.size() > 2 ||
      std::find(planned.shape.begin(), planned.shape.end(), 0) != planned.shape.end();
  if (is_bad) {
    throw Error(ErrorCode::kCorruptData,
                "tensor " + printable(tensor.name) + " is neither a vector nor a matrix");
  }
  const bool is_pair_of_q = name.find(".attn_q.") != std::string::npos;
  const bool is_pair_of_k = name.find(".attn_k.") != std::string::npos;
  const bool is_norm = name.ends_with("norm.weight");
  if (family.pairs_are_neighbours && (is_pair_of_q || is_pair_of_k)) {
    const int64_t columns = planned.shape.size() == 1 ? 1 : planned.shape[0];
    const int64_t rows = planned.shape.back();
    const int64_t heads = is_pair_of_q ? shape.heads : shape.kv_heads;
    if (rows != heads * shape.head_dim) {
      throw Error(ErrorCode::kCorruptData, "tensor " + printable(tensor.name) + " has " +
                                               std::to_string(rows) + " rows; config.json makes " +
                                               std::to_string(heads * shape.head_dim));
    }
    planned.read = [&tensor, type, columns, head_dim = shape.head_dim](int64_t first,
                                                                       std::span<float> values) {
      while (!values.empty()) {
        const int64_t column = first % columns;
        const auto count = std::min<int64_t>(columns - column, std::ssize(values));
        read_values(tensor, type, source_row(first / columns, head_dim) * columns + column,
                    values.first(static_cast<size_t>(count)));
        values = values.subspan(static_cast<size_t>(count));
        first += count;
      }
    };
  } else {
    // Gemma multiplies with 1 + weight; GGUF's weights have the 1 in them.
    const float added = family.is_gemma && is_norm ? 1.0f : 0.0f;
    planned.read = [&tensor, type, added](int64_t first, std::span<float> values) {
      read_values(tensor, type, first, values);
      if (added == 0.0f) return;
      for (float& value : values) value += added;
    };
  }
  planned.name = std::move(name);
  return planned;
}

// What is not a matrix is small and decides much.
void choose(const Mix& mix, const Shape& shape, std::vector<PlannedTensor>& plan) {
  std::vector<TensorFacts> facts;
  for (const PlannedTensor& tensor : plan) {
    const bool is_matrix = tensor.shape.size() > 1;
    facts.push_back({tensor.name, tensor.shape, is_matrix ? tensor.type : Type::kF32});
  }
  const ModelFacts model = {static_cast<int>(shape.layers), 0, shape.kv_heads < shape.heads};
  const std::vector<Type> types = choose_types(mix, model, facts);
  for (size_t i = 0; i < plan.size(); ++i) plan[i].type = types[i];
}

std::vector<PlannedTensor> plan_tensors(const SafetensorsModel& model, const Family& family,
                                        const Shape& shape) {
  std::vector<PlannedTensor> plan;
  for (const auto& [name, tensor] : model.tensors()) {
    if (is_left_out(name, shape.has_tied_embeddings)) continue;
    std::string target = gguf_name(plain_name(name), family, shape.layers);
    if (target.empty()) {
      unsupported("the tensor " + printable(name.substr(0, 120)) +
                  " is none that a model of this architecture has");
    }
    plan.push_back(plan_tensor(*tensor, std::move(target), family, shape));
  }
  return plan;
}

const PlannedTensor* find(const std::vector<PlannedTensor>& plan, std::string_view name) {
  const auto found = std::find_if(plan.begin(), plan.end(),
                                  [name](const PlannedTensor& t) { return t.name == name; });
  return found == plan.end() ? nullptr : &*found;
}

const Mix& mix_of_source(Type type) {
  return find_mix(type == Type::kBF16 ? "bf16" : type == Type::kF16 ? "f16" : "f32");
}

}  // namespace

void convert_hf(const ModelFiles& files, store::TemporaryFile& out, const HfOptions& options) {
  constexpr size_t kMaxConfigBytes = size_t{16} << 20;
  const auto config_file = files.find("config.json");
  if (config_file == files.end()) {
    throw Error(ErrorCode::kNotFound, "config.json is missing among the model's files");
  }
  const Json json =
      parse_object(read_small_file(config_file->second, kMaxConfigBytes), "config.json");
  const Fields whole(json, "config.json");
  const Family& family = find_family(whole);
  // A vision model has its text part's parameters one level deeper.
  const Fields config = whole.get_object("text_config").value_or(whole);
  refuse_what_we_lack(config, family);
  const Shape shape = read_shape(config, family);
  const Rope rope = read_rope(config, shape);

  const SafetensorsModel model(files);
  std::vector<PlannedTensor> plan = plan_tensors(model, family, shape);
  const PlannedTensor* embedding = find(plan, "token_embd.weight");
  if (embedding == nullptr || embedding->shape.size() != 2) {
    throw Error(ErrorCode::kCorruptData, "the tensor model.embed_tokens.weight is missing");
  }
  if (!shape.has_tied_embeddings && find(plan, "output.weight") == nullptr) {
    throw Error(ErrorCode::kCorruptData,
                "the tensor lm_head.weight is missing, and tie_word_embeddings is not set");
  }
  const Mix& mix = options.mix != nullptr ? *options.mix : mix_of_source(embedding->type);
  const auto num_rows = static_cast<size_t>(embedding->shape[1]);
  choose(mix, shape, plan);
  if (!rope.divisors.empty()) {
    plan.push_back({"rope_freqs.weight",
                    Type::kF32,
                    {static_cast<int64_t>(rope.divisors.size())},
                    [&rope](int64_t first, std::span<float> values) {
                      std::copy_n(rope.divisors.begin() + first, values.size(), values.begin());
                    },
                    {}});
  }
  gguf::Writer head = describe(config, family, shape, rope, options.name);
  head.set_uint32("general.file_type", mix.file_type);
  head.set_uint32("general.quantization_version", 2);
  write_vocabulary(read_vocabulary(files, whole, num_rows), head);
  write_tensors(std::move(head), plan, out, options.write);
}

}  // namespace sluice::convert
