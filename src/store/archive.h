#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "store/store.h"

namespace sluice::store {

// A model as one file: a tar with an OCI image layout in it (oci-layout, index.json,
// blobs/sha256/...), uncompressed, as weights do not get smaller.

using ArchiveProgress = std::function<void(uint64_t completed_bytes, uint64_t total_bytes)>;

// Writes the model to `path`, replacing what was there; every blob is checked by its digest on the
// way. Throws Error: kNotFound, kCorruptData for a damaged blob, kNoSpace, kIo; nothing is left
// then.
void export_model(const Store& store, const ModelName& name, const std::string& path,
                  const ArchiveProgress& on_progress = {});

// True for a file that begins as a tar does.
bool is_archive(const std::string& path);

// Takes the model in `path` into the store, under `name` or else the name that the file tells;
// returns it. What the manifest does not name is not looked at. Throws Error: kCorruptData for what
// is no such file or is not what its digests say, kNoSpace, kIo; blobs that were complete by then
// stay unnamed.
ModelName import_archive(Store& store, const std::string& path,
                         const std::optional<ModelName>& name,
                         const ArchiveProgress& on_progress = {});

}  // namespace sluice::store
