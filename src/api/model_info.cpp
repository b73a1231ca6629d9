#include "api/model_info.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <map>
#include <type_traits>
#include <variant>

#include "quant/types.h"
#include "text/tokenizer.h"

namespace sluice::api {
namespace {

// Most numbers in files are 32-bit floats: 1e-05 shall not print as 9.999999747378752e-06.
Json short_number(double value) {
  const auto narrow = static_cast<float>(value);
  if (static_cast<double>(narrow) != value) return value;
  std::array<char, 64> text;
  const auto [end, error] = std::to_chars(text.data(), text.data() + text.size() - 1, narrow);
  if (error != std::errc()) return value;
  *end = '\0';
  return std::strtod(text.data(), nullptr);
}

template <typename T>
Json numbers(const gguf::Array& array) {
  Json list = Json::array();
  for (uint64_t i = 0; i < array.count; ++i) {
    T value;
    std::memcpy(&value, array.data.data() + i * sizeof(T), sizeof(T));
    if constexpr (std::is_floating_point_v<T>) {
      list.push_back(short_number(double{value}));
    } else {
      list.push_back(value);
    }
  }
  return list;
}

Json array_json(const gguf::Array& array) {
  switch (array.element_type) {
    case gguf::ValueType::kUint8:
      return numbers<uint8_t>(array);
    case gguf::ValueType::kInt8:
      return numbers<int8_t>(array);
    case gguf::ValueType::kUint16:
      return numbers<uint16_t>(array);
    case gguf::ValueType::kInt16:
      return numbers<int16_t>(array);
    case gguf::ValueType::kUint32:
      return numbers<uint32_t>(array);
    case gguf::ValueType::kInt32:
      return numbers<int32_t>(array);
    case gguf::ValueType::kUint64:
      return numbers<uint64_t>(array);
    case gguf::ValueType::kInt64:
      return numbers<int64_t>(array);
    case gguf::ValueType::kFloat32:
      return numbers<float>(array);
    case gguf::ValueType::kFloat64:
      return numbers<double>(array);
    case gguf::ValueType::kBool: {
      Json list = Json::array();
      for (const std::byte byte : array.data) list.push_back(byte != std::byte{0});
      return list;
    }
    case gguf::ValueType::kString: {
      Json list = Json::array();
      for (const std::string_view text : array.strings) list.push_back(text);
      return list;
    }
    default:
      return nullptr;
  }
}

Json value_json(const gguf::Value& value, bool verbose) {
  return std::visit(
      [verbose](const auto& item) -> Json {
        using T = std::decay_t<decltype(item)>;
        if constexpr (std::is_same_v<T, gguf::Array>) {
          return verbose ? array_json(item) : Json(nullptr);
        } else if constexpr (std::is_same_v<T, double>) {
          return short_number(item);
        } else {
          return item;
        }
      },
      value);
}

bool has_key(const gguf::File& file, const std::string& key) { return file.find(key) != nullptr; }

}  // namespace

Json model_info(const gguf::File& file, bool verbose) {
  std::map<std::string_view, const gguf::Value*> sorted;
  for (const auto& [key, value] : file.metadata()) sorted.emplace(key, &value);
  sorted.erase("general.name");
  sorted.erase("tokenizer.chat_template");
  Json json = Json::object();
  auto& members = json.get_ref<Json::object_t&>();
  for (const auto& [key, value] : sorted) {
    members.emplace_back(std::string(key), value_json(*value, verbose));
  }
  uint64_t num_parameters = 0;
  for (const gguf::Tensor& tensor : file.tensors()) {
    num_parameters += static_cast<uint64_t>(tensor.num_elements());
  }
  json["general.parameter_count"] = num_parameters;
  return json;
}

Json tensor_list(const gguf::File& file) {
  Json list = Json::array();
  for (const gguf::Tensor& tensor : file.tensors()) {
    Json item;
    item["name"] = tensor.name;
    item["type"] = quant::type_info(tensor.type).name;
    item["shape"] = tensor.shape;
    list.push_back(std::move(item));
  }
  return list;
}

bool is_for_embeddings(const gguf::File& file) {
  const std::string architecture(file.get_string("general.architecture").value_or(""));
  return has_key(file, architecture + ".pooling_type");
}

std::vector<std::string> capabilities(const gguf::File& file,
                                      const text::TemplateAbilities& abilities) {
  std::vector<std::string> list;
  list.push_back(is_for_embeddings(file) ? "embedding" : "completion");
  if (abilities.has_tools) list.push_back("tools");
  if (abilities.has_insert || text::names_fill_tokens(file)) list.push_back("insert");
  if (abilities.has_thinking) list.push_back("thinking");
  return list;
}

std::vector<std::pair<std::string, std::string>> modelfile_parameters(const Json& params) {
  std::vector<std::pair<std::string, std::string>> parameters;
  if (!params.is_object()) return parameters;
  for (const auto& [key, value] : params.get_ref<const Json::object_t&>()) {
    const Json list = value.is_array() ? value : Json::array({value});
    for (const Json& item : list) {
      parameters.emplace_back(key, item.is_string() ? item.get<std::string>() : dump_json(item));
    }
  }
  return parameters;
}

}  // namespace sluice::api
