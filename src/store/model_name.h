#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace sluice::store {

// The full name of a model: [host/][namespace/]model[:tag], an optional scheme in front
// ("http://host/namespace/model:tag"). Parts have 1 to 80 (host: 350) of the characters
// [A-Za-z0-9_-], also '.' (not in the namespace) and ':' (only in the host), and begin with a
// letter, a digit or '_'; so a part can never be "..", empty or hidden, and is safe in a path.
struct ModelName {
  std::string scheme;  // "" unless written
  std::string host = "registry.ollama.ai";
  std::string name_space = "library";
  std::string model;
  std::string tag = "latest";

  // Throws Error(kInvalidArgument, "invalid model name").
  static ModelName parse(std::string_view text);
  static std::optional<ModelName> try_parse(std::string_view text);

  // Without what is default, but always with the tag: "smollm2:135m", "me/x:latest".
  std::string short_name() const;
  // "registry.ollama.ai/library/smollm2:135m"
  std::string full_name() const;
  // "registry.ollama.ai/library/smollm2/135m": below the folder of manifests.
  std::string relative_path() const;

  // Ollama's rule: case counts for nothing, the scheme neither.
  bool is_same_model(const ModelName& other) const;

  bool operator==(const ModelName&) const = default;
};

// True for one valid part of a name; what is read back from directories is checked with these.
enum class NamePart { kHost, kNamespace, kModel, kTag };
bool is_valid_name_part(NamePart part, std::string_view text);

}  // namespace sluice::store
