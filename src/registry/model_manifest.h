#pragma once

#include <string>

#include "registry/reference.h"
#include "registry/registry_client.h"
#include "store/manifest.h"

namespace sluice::registry {

struct ModelManifest {
  std::string text;  // as the registry has it
  store::Manifest manifest;
};

// Of a model whose weights can be used, with layers and sizes that are possible. Throws Error:
// kNotFound ("pull model manifest: file does not exist"), kCorruptData, kUnsupported for what is no
// model, what RegistryClient::send() throws.
ModelManifest fetch_manifest(RegistryClient& client, const Reference& reference);

}  // namespace sluice::registry
