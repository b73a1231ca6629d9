#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "store/store.h"

namespace sluice::server {

// A GGUF file served under a name without being in the store: `sluice run FILE`.
struct ExtraModel {
  std::string name;  // a valid model name
  std::string path;
};

// The models a server knows: those of the store, and the extra ones in front of them. Reads the
// disk on every call; safe to share between threads.
class Catalog {
 public:
  // Throws Error for an extra model whose name is not valid or whose file is not there.
  Catalog(const std::string& store_root, const std::vector<ExtraModel>& extra);

  // Throws Error(kNotFound, "model 'NAME' not found"), kInvalidArgument, kCorruptData.
  store::ModelRecord get(std::string_view name) const;
  // Newest first. Problems of the store are logged.
  std::vector<store::ModelRecord> list() const;
  // Throws Error(kNotFound) as get(), kUnsupported for an extra model.
  void remove(std::string_view name);

 private:
  const store::ModelRecord* find_extra(std::string_view name) const;

  store::Store store_;
  std::vector<store::ModelRecord> extra_;
};

// A valid model name made from a file's name: "Foo 7B.Q4_0.gguf" gives "Foo-7B.Q4_0".
std::string name_for_file(std::string_view path);

}  // namespace sluice::server
