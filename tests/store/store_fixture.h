#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>
#include <string>

#include "gguf/writer.h"
#include "store/store.h"

namespace sluice::store::testing {

namespace fs = std::filesystem;

inline void write_text(const fs::path& path, const std::string& text) {
  fs::create_directories(path.parent_path());
  std::ofstream file(path, std::ios::binary);
  file << text;
  ASSERT_TRUE(file.good()) << path;
}

inline std::string read_text(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// Writes a small valid GGUF file; `salt` makes its content differ.
inline std::string write_gguf(const fs::path& path, const std::string& salt,
                              size_t num_values = 64) {
  gguf::Writer writer;
  writer.set_string("general.architecture", "llama");
  writer.set_string("general.name", salt);
  writer.set_uint32("general.file_type", 0);
  writer.set_uint32("llama.context_length", 2048);
  writer.set_uint32("llama.embedding_length", 32);
  const std::vector<float> values(num_values, 1.5f);
  writer.add_tensor("token_embd.weight", quant::Type::kF32, {static_cast<int64_t>(num_values)},
                    std::as_bytes(std::span(values)));
  writer.save(path.string());
  return path.string();
}

// A folder for one test with an empty store in it.
class StoreTest : public ::testing::Test {
 protected:
  StoreTest() {
    std::string path = (fs::temp_directory_path() / "sluice-store-XXXXXX").string();
    if (::mkdtemp(path.data()) == nullptr) std::abort();
    folder_ = path;
  }
  ~StoreTest() override { fs::remove_all(folder_); }

  fs::path root() const { return folder_ / "models"; }
  Store store() const { return Store(root().string()); }

  // Names of all files below the store, without the lock.
  std::set<std::string> files() const {
    std::set<std::string> names;
    if (!fs::exists(root())) return names;
    for (const auto& entry : fs::recursive_directory_iterator(root())) {
      const std::string name = fs::relative(entry.path(), root()).string();
      if (!entry.is_directory() && name != ".sluice.lock") names.insert(name);
    }
    return names;
  }

  // Adds a blob as Ollama would and returns its layer.
  Layer add_blob(std::string_view media_type, const std::string& content) const {
    Layer layer;
    layer.media_type = media_type;
    layer.digest = sha256(content);
    layer.size_bytes = content.size();
    write_text(root() / "blobs" / layer.digest.file_name(), content);
    return layer;
  }

  fs::path folder_;
};

}  // namespace sluice::store::testing
