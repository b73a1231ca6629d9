#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "api/options.h"
#include "store/store.h"
#include "text/go_template.h"

namespace sluice::server {

// A GGUF file served under a name without being in the store: `sluice run FILE`.
struct ExtraModel {
  std::string name;  // a valid model name
  std::string path;
};

// A model's record, and what its params and template layers say: parsed once.
struct CatalogRecord : store::ModelRecord {
  api::ModelOptions options;
  std::shared_ptr<const text::GoTemplate> go_template = nullptr;  // null: none that can be used
  std::string go_template_fault = {};                             // why; "" when there is none
};
// Shared, as thousands of requests may ask for one model.
using SharedRecord = std::shared_ptr<const CatalogRecord>;

// The models a server knows: those of the store, and the extra ones in front of them. Looks at the
// disk on every call, and reads a model's files again when its manifest has changed. Safe to share
// between threads.
class Catalog {
 public:
  // Throws Error for an extra model whose name is not valid or whose file is not there.
  Catalog(const std::string& store_root, const std::vector<ExtraModel>& extra);

  // Throws Error(kNotFound, "model 'NAME' not found"), kInvalidArgument, kCorruptData, also for
  // options that cannot be read.
  SharedRecord get(std::string_view name) const;
  store::Store& store() { return store_; }
  const store::Store& store() const { return store_; }
  // Newest first, the extra ones in front.
  store::ModelList list() const;
  // Gives a model of the store a second name. Throws as Store::copy(), kUnsupported for an extra
  // model on either side.
  void copy(std::string_view source, std::string_view destination);
  // Also what is broken. Throws Error(kNotFound) and kInvalidArgument as get(), kUnsupported for an
  // extra model.
  void remove(std::string_view name);

 private:
  // What tells one version of a manifest from another.
  struct FileId {
    uint64_t device = 0, inode = 0, size = 0;
    int64_t modified_ns = 0;
    bool operator==(const FileId&) const = default;
  };
  struct Read {
    FileId manifest;
    SharedRecord record;
  };

  static std::optional<FileId> identify(const std::string& path);
  SharedRecord find_extra(std::string_view name) const;
  void refuse_extra(std::string_view name) const;
  SharedRecord find_read(const std::string& manifest_path, const FileId& id) const;

  store::Store store_;
  std::vector<SharedRecord> extra_;
  mutable std::mutex mutex_;
  mutable std::map<std::string, Read> read_;  // by the manifest's path; under the mutex
};

// A valid model name made from a file's name: "Foo 7B.Q4_0.gguf" gives "Foo-7B.Q4_0".
std::string name_for_file(std::string_view path);

}  // namespace sluice::server
