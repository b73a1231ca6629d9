#include "store/manifest.h"

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "store/go_json.h"

namespace sluice::store {
namespace {

using Json = nlohmann::json;                 // for reading: members are found in logarithmic time
using OrderedJson = nlohmann::ordered_json;  // for writing

constexpr size_t kMaxLayers = 10'000;
constexpr int kMaxDepth = 32;
constexpr int kMaxJsonValues = 200'000;  // of one document, names counted in; a layer has eleven

[[noreturn]] void fail(const std::string& what) { throw Error(ErrorCode::kCorruptData, what); }

// Looks at a document before it is built: a deep or huge one is never. (The library's own hook for
// that walks all of a list at the end of each of its objects.)
class Bounds : public nlohmann::json_sax<Json> {
 public:
  explicit Bounds(const char* what) : what_(what) {}

  bool null() override { return count(); }
  bool boolean(bool) override { return count(); }
  bool number_integer(int64_t) override { return count(); }
  bool number_unsigned(uint64_t) override { return count(); }
  bool number_float(double, const std::string&) override { return count(); }
  bool string(std::string&) override { return count(); }
  bool binary(Json::binary_t&) override { return count(); }
  bool key(std::string&) override { return count(); }
  bool start_object(size_t) override { return open(); }
  bool start_array(size_t) override { return open(); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }
  bool parse_error(size_t, const std::string&, const nlohmann::detail::exception&) override {
    fail(std::string(what_) + " is not valid JSON");
  }

 private:
  bool count() {
    if (++num_values_ > kMaxJsonValues) fail(std::string(what_) + " holds too many values");
    return true;
  }
  bool open() {
    if (++depth_ > kMaxDepth) fail(std::string(what_) + " is nested too deeply");
    return count();
  }
  bool close() {
    --depth_;
    return true;
  }

  const char* what_;
  int num_values_ = 0;
  int depth_ = 0;
};

// `what` is "manifest" or "config", for the message.
Json parse_object(std::string_view text, const char* what) {
  Bounds bounds(what);
  Json::sax_parse(text, &bounds);
  Json json = Json::parse(text);
  if (!json.is_object()) fail(std::string(what) + " is not a JSON object");
  return json;
}

// Absent and null give the default; another type fails.
std::string string_member(const Json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end() || found->is_null()) return {};
  if (!found->is_string()) fail(std::string("\"") + key + "\" is not a string");
  return found->get<std::string>();
}

uint64_t uint_member(const Json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end() || found->is_null()) return 0;
  if (!found->is_number_unsigned()) fail(std::string("\"") + key + "\" is not a size");
  return found->get<uint64_t>();
}

std::vector<std::string> strings_member(const Json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end() || found->is_null()) return {};
  std::vector<std::string> strings;
  if (!found->is_array()) fail(std::string("\"") + key + "\" is not a list");
  for (const Json& item : *found) {
    if (!item.is_string()) fail(std::string("\"") + key + "\" holds something else than strings");
    strings.push_back(item.get<std::string>());
  }
  return strings;
}

Layer parse_layer(const Json& json) {
  if (!json.is_object()) fail("manifest: a layer is not an object");
  Layer layer;
  layer.media_type = string_member(json, "mediaType");
  const std::string digest_text = string_member(json, "digest");
  const auto digest = Digest::parse(digest_text);
  if (!digest || digest_text[6] != ':') fail("manifest: a layer has an invalid digest");
  layer.digest = *digest;
  layer.size_bytes = uint_member(json, "size");
  if (layer.size_bytes > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
    fail("manifest: a layer has an impossible size");
  }
  layer.from = string_member(json, "from");
  layer.name = string_member(json, "name");
  return layer;
}

OrderedJson layer_json(const Layer& layer) {
  OrderedJson json;
  json["mediaType"] = layer.media_type;
  json["digest"] = layer.digest.text();
  json["size"] = layer.size_bytes;
  if (!layer.from.empty()) json["from"] = layer.from;
  if (!layer.name.empty()) json["name"] = layer.name;
  return json;
}

}  // namespace

uint64_t Manifest::total_size_bytes() const {
  uint64_t total = config.size_bytes;
  for (const Layer& layer : layers) {
    const uint64_t room = std::numeric_limits<uint64_t>::max() - total;
    total += std::min(room, layer.size_bytes);
  }
  return total;
}

const Layer* Manifest::find_layer(std::string_view media_type) const {
  for (const Layer& layer : layers) {
    if (layer.media_type == media_type) return &layer;
  }
  return nullptr;
}

Manifest parse_manifest(std::string_view json_text) {
  const Json json = parse_object(json_text, "manifest");
  Manifest manifest;
  const auto config = json.find("config");
  if (config == json.end()) fail("manifest has no config");
  manifest.config = parse_layer(*config);
  const auto layers = json.find("layers");
  if (layers == json.end() || layers->is_null()) return manifest;
  if (!layers->is_array()) fail("manifest: \"layers\" is not a list");
  if (layers->size() > kMaxLayers) fail("manifest has too many layers");
  for (const Json& layer : *layers) manifest.layers.push_back(parse_layer(layer));
  return manifest;
}

std::string encode_manifest(const Manifest& manifest) {
  OrderedJson json;
  json["schemaVersion"] = 2;
  json["mediaType"] = kManifestType;
  json["config"] = layer_json(manifest.config);
  json["layers"] = OrderedJson::array();
  for (const Layer& layer : manifest.layers) json["layers"].push_back(layer_json(layer));
  return go_json(json);
}

ModelConfig parse_config(std::string_view json_text) {
  const Json json = parse_object(json_text, "config");
  ModelConfig config;
  config.format = string_member(json, "model_format");
  config.family = string_member(json, "model_family");
  config.families = strings_member(json, "model_families");
  config.parameter_size = string_member(json, "model_type");
  config.quantization = string_member(json, "file_type");
  config.renderer = string_member(json, "renderer");
  config.parser = string_member(json, "parser");
  config.minimum_version = string_member(json, "requires");
  config.base_name = string_member(json, "base_name");
  config.capabilities = strings_member(json, "capabilities");
  config.context_length = uint_member(json, "context_length");
  config.embedding_length = uint_member(json, "embedding_length");
  return config;
}

std::string encode_config(const ModelConfig& config) {
  OrderedJson json;
  json["model_format"] = config.format;
  json["model_family"] = config.family;
  json["model_families"] = config.families;
  json["model_type"] = config.parameter_size;
  json["file_type"] = config.quantization;
  if (!config.renderer.empty()) json["renderer"] = config.renderer;
  if (!config.parser.empty()) json["parser"] = config.parser;
  if (!config.minimum_version.empty()) json["requires"] = config.minimum_version;
  if (!config.capabilities.empty()) json["capabilities"] = config.capabilities;
  if (config.context_length > 0) json["context_length"] = config.context_length;
  if (config.embedding_length > 0) json["embedding_length"] = config.embedding_length;
  if (!config.base_name.empty()) json["base_name"] = config.base_name;
  json["architecture"] = "amd64";
  json["os"] = "linux";
  return go_json(json);
}

}  // namespace sluice::store
