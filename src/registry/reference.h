#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "registry/web_url.h"
#include "store/model_name.h"

namespace sluice::registry {

// Where a model is found by its name: "llama3.1:70b" in Ollama's registry,
// "hf.co/org/repo:Q4_K_M", "host:port/namespace/model:tag".
struct Reference {
  store::ModelName name;  // without a scheme
  bool is_http = false;
  bool is_unverified = false;  // TLS whose certificate is not checked

  // `insecure` means plain HTTP, as with Ollama, and TLS without a look at the certificate where
  // "https://" is written out. Throws Error(kInvalidArgument): "invalid model name", "insecure
  // protocol http" for one that is written without being allowed.
  static Reference parse(std::string_view text, bool insecure);

  std::string repository() const;  // "library/llama3.1"
  // Of a part of the repository: "manifests/70b", "blobs/sha256:...".
  WebUrl url(std::string_view rest) const;
};

// "https://host/path/file.gguf" rather than a name: a file to be fetched.
bool is_file_url(std::string_view text);

}  // namespace sluice::registry
