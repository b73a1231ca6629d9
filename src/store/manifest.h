#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "store/sha256.h"

namespace sluice::store {

// Media types of layers, as Ollama's registry names them.
inline constexpr std::string_view kManifestType =
    "application/vnd.docker.distribution.manifest.v2+json";
inline constexpr std::string_view kConfigType = "application/vnd.docker.container.image.v1+json";
inline constexpr std::string_view kModelLayer = "application/vnd.ollama.image.model";
inline constexpr std::string_view kProjectorLayer = "application/vnd.ollama.image.projector";
inline constexpr std::string_view kAdapterLayer = "application/vnd.ollama.image.adapter";
inline constexpr std::string_view kTemplateLayer = "application/vnd.ollama.image.template";
inline constexpr std::string_view kSystemLayer = "application/vnd.ollama.image.system";
inline constexpr std::string_view kParamsLayer = "application/vnd.ollama.image.params";
inline constexpr std::string_view kMessagesLayer = "application/vnd.ollama.image.messages";
inline constexpr std::string_view kLicenseLayer = "application/vnd.ollama.image.license";

struct Layer {
  std::string media_type;
  Digest digest;
  uint64_t size_bytes = 0;
  std::string from = {};  // "" when absent
  std::string name = {};  // "" when absent
};

// What a model name points to: a config blob and the layers.
struct Manifest {
  Layer config;
  std::vector<Layer> layers;

  // Sum of config and layers, as `list` shows it.
  uint64_t total_size_bytes() const;
  // First layer of the type; null when there is none.
  const Layer* find_layer(std::string_view media_type) const;
};

// Throws Error(kCorruptData) saying what is wrong: no JSON, a digest or size that is none, a
// missing config, more than 10,000 layers.
Manifest parse_manifest(std::string_view json_text);
// The bytes that Ollama writes for the same manifest.
std::string encode_manifest(const Manifest& manifest);

// The config blob. Unknown keys are ignored, absent ones stay empty.
struct ModelConfig {
  std::string format;                 // model_format: "gguf"
  std::string family;                 // model_family: "llama"
  std::vector<std::string> families;  // model_families
  std::string parameter_size;         // model_type: "134.52M"
  std::string quantization;           // file_type: "Q4_1"
  std::string renderer;
  std::string parser;
  std::string minimum_version;  // requires
  std::string base_name;
  std::vector<std::string> capabilities;
  uint64_t context_length = 0;
  uint64_t embedding_length = 0;
};

// Throws Error(kCorruptData) for text that is no JSON object or has members of a wrong type.
ModelConfig parse_config(std::string_view json_text);
std::string encode_config(const ModelConfig& config);

}  // namespace sluice::store
