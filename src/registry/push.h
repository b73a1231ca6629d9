#pragma once

#include <stop_token>
#include <string>

#include "registry/options.h"
#include "registry/progress.h"
#include "registry/reference.h"
#include "store/store.h"

namespace sluice::registry {

// Sends a model of the store to the registry of its name: what that has already is passed over,
// what another of its repositories has is mounted. A blob is hashed while it goes out, and not
// finished when its bytes are not those of its digest. Lines as Ollama's: "retrieving manifest",
// "pushing <12 hex>" for each blob, "pushing manifest", "success". Throws Error: kNotFound for a
// model that is not there, kCorruptData for a damaged blob or a registry that breaks the protocol,
// kIo ("... unauthorized: access denied"), kCancelled.
void push(const store::Store& store, const Reference& reference, const RegistryOptions& options,
          const OnProgress& on_progress, std::stop_token stop);

}  // namespace sluice::registry
