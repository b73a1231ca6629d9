#pragma once

#include <stop_token>
#include <string>

#include "registry/options.h"
#include "registry/progress.h"
#include "registry/reference.h"
#include "store/store.h"

namespace sluice::registry {

// Fetches a model into the store. Every blob is checked by its digest before it appears there; what
// was fetched before an error or a kill is gone on with by the next pull. Lines as Ollama's:
// "pulling manifest", "pulling <12 hex>" for each blob, "verifying sha256 digest", "writing
// manifest", perhaps "removing unused layers", "success".
// Throws Error: kNotFound ("pull model manifest: file does not exist"), kCorruptData for a registry
// that lies or a manifest that is none, kUnsupported for what is no model, kNoSpace with what is
// needed and what is free, kIo, kCancelled.
void pull(store::Store& store, const Reference& reference, const RegistryOptions& options,
          const OnProgress& on_progress, std::stop_token stop);

// Fetches a GGUF file from a web address and gives it a name. The same lines.
void pull_file(store::Store& store, const WebUrl& url, bool insecure, const store::ModelName& name,
               const RegistryOptions& options, const OnProgress& on_progress, std::stop_token stop);

}  // namespace sluice::registry
