#include <filesystem>
#include <vector>

#include "base/error.h"
#include "gguf/parts.h"
#include "store/files.h"
#include "store/gguf_config.h"
#include "store/layout.h"
#include "store/store.h"

namespace sluice::store {
namespace {

namespace fs = std::filesystem;

// A blob on its way into the store: either it is there already, or it waits in a temporary file.
struct StagedBlob {
  Digest digest;
  uint64_t size_bytes = 0;
  std::optional<TemporaryFile> file;
};

bool has_size(const std::string& path, uint64_t size_bytes) {
  std::error_code error;
  return fs::file_size(path, error) == size_bytes && !error;
}

bool has_blob_of_size(const std::string& folder, uint64_t size_bytes) {
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    if (Digest::parse(name) && has_size(entry->path().string(), size_bytes)) return true;
  }
  return false;
}

class Importer {
 public:
  Importer(const Store& store, const std::string& path, const ImportOptions& options)
      : store_(store), path_(path), options_(options), blobs_(blobs_folder(store.root())) {}

  void report(std::string_view phase, uint64_t completed_bytes, uint64_t total_bytes) const {
    if (options_.on_progress) options_.on_progress({phase, completed_bytes, total_bytes});
  }

  // Reads the file once where it can: a digest before the copy is worth its time only when a blob
  // of that size is there already. (A damaged blob is copied over.)
  StagedBlob stage() const {
    const uint64_t size_bytes = InputFile(path_).size_bytes();
    if (has_blob_of_size(blobs_, size_bytes)) {
      const Digest digest = hash(path_, size_bytes);
      const std::string blob = store_.blob_path(digest);
      if (has_size(blob, size_bytes) && hash(blob, size_bytes) == digest) {
        return {digest, size_bytes, {}};
      }
    }
    return stage_copy();
  }

  StagedBlob stage_copy() const {
    const InputFile source(path_);
    const uint64_t size_bytes = source.size_bytes();
    TemporaryFile file(blobs_);
    if (file.clone_from(source) || (options_.hard_link && file.link_from(path_))) {
      const Digest digest = hash(file.path(), size_bytes);
      return {digest, size_bytes, std::move(file)};
    }
    require_space(blobs_, size_bytes);
    Sha256 hash;
    uint64_t completed = 0;
    std::vector<std::byte> buffer(kCopyBufferBytes);
    while (const size_t count = source.read_some(completed, buffer)) {
      const auto bytes = std::span<const std::byte>(buffer).first(count);
      hash.update(bytes);
      file.write(bytes);
      completed += count;
      report("copying", completed, size_bytes);
    }
    return {hash.finish(), completed, std::move(file)};
  }

 private:
  Digest hash(const std::string& path, uint64_t size_bytes) const {
    return sha256_file(path, [&](uint64_t completed) { report("hashing", completed, size_bytes); });
  }

  const Store& store_;
  const std::string& path_;
  const ImportOptions& options_;
  const std::string blobs_;
};

StagedBlob stage_text(const std::string& folder, std::string_view text) {
  StagedBlob staged = {sha256(text), text.size(), TemporaryFile(folder)};
  staged.file->write(text);
  staged.file->sync();
  return staged;
}

void check_model_file(const std::string& path) {
  const gguf::File file = gguf::File::open(path);
  gguf::require_whole(file);
  config_from_gguf(file);
}

}  // namespace

ModelRecord Store::import_gguf(const std::string& path, const ModelName& name,
                               const ImportOptions& options) {
  const Importer importer(*this, path, options);
  importer.report("reading GGUF", 0, 0);
  check_model_file(path);  // before anything is written
  const std::string blobs = blobs_folder(root_);
  make_directories(blobs);

  StagedBlob model = importer.stage();
  if (model.file) model.file->sync();  // takes long: not while others wait for the lock
  const FileLock lock(lock_path(root_));
  if (!model.file && !has_size(blob_path(model.digest), model.size_bytes)) {
    model = importer.stage_copy();  // someone removed the blob before we had the lock
  }
  importer.report("writing manifest", model.size_bytes, model.size_bytes);
  // Once more from the bytes that were digested: the file may have changed since the first look.
  const std::string model_path = model.file ? model.file->path() : blob_path(model.digest);
  const gguf::File file = gguf::File::open(model_path);
  StagedBlob config = stage_text(blobs, encode_config(config_from_gguf(file)));
  std::optional<StagedBlob> params;
  if (const std::string json = params_from_gguf(file); !json.empty()) {
    params = stage_text(blobs, json);
  }
  Manifest manifest;
  manifest.config = Layer{std::string(kConfigType), config.digest, config.size_bytes};
  manifest.layers = {Layer{std::string(kModelLayer), model.digest, model.size_bytes}};
  if (params)
    manifest.layers.push_back(Layer{std::string(kParamsLayer), params->digest, params->size_bytes});
  StagedBlob manifest_file = stage_text(blobs, encode_manifest(manifest));
  if (model.file) model.file->sync();

  const FoundManifest target = place_of(name);
  // Everything is on the disk; from here on there are only renames, the manifest last.
  for (StagedBlob* blob : {&model, &config, params ? &*params : nullptr}) {
    if (blob && blob->file) blob->file->commit(blobs + "/" + blob->digest.file_name());
  }
  replace_manifest(target, *std::move(manifest_file.file));
  return read_record(target, /*with_texts=*/true);
}

}  // namespace sluice::store
