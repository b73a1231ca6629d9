#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "store/manifest.h"
#include "store/model_name.h"
#include "store/sha256.h"

namespace sluice::store {

class TemporaryFile;

// The texts of a model's small layers, as they are on disk.
struct ModelTexts {
  std::string chat_template;  // Ollama's Go template; a GGUF's own Jinja template is not this
  std::string system;
  std::string params_json;    // "" or the text of an object of options
  std::string messages_json;  // "" or the text of an array of {role, content}
  std::vector<std::string> licenses;
  std::string params_path, messages_path;  // the files that the two came from
};

// One model of the store.
struct ModelRecord {
  ModelName name;  // with the casing on disk
  Digest digest;   // of the manifest file
  Manifest manifest;
  uint64_t size_bytes = 0;  // of all layers and the config
  std::chrono::system_clock::time_point modified;
  std::string model_path;  // the blob with the weights (GGUF); "" when the model has none
  ModelConfig config;
  ModelTexts texts;  // filled by find() and get(), empty in list()
};

struct ModelList {
  std::vector<ModelRecord> models;  // newest first, then by name
  // Manifests that could not be read, with the reason; never fatal.
  struct Problem {
    ModelName name;
    std::string path;
    std::string reason;
  };
  std::vector<Problem> problems;
};

struct ImportProgress {
  std::string_view phase;  // "reading GGUF", "hashing", "copying", "writing manifest"
  uint64_t completed_bytes = 0;
  uint64_t total_bytes = 0;
};

struct ImportOptions {
  // Share the file's bytes by a hard link instead of copying them, where the file system allows it.
  // Only for files that nobody writes to any more. (Copy-on-write clones are always tried.)
  bool hard_link = false;
  // Called often from the importing thread; what it throws ends the import with nothing left
  // behind.
  std::function<void(const ImportProgress&)> on_progress;
};

struct RemoveResult {
  uint64_t freed_bytes = 0;
  int num_blobs_removed = 0;
};

// The models on disk, in Ollama's layout, so that both programs can use one folder:
//   $root/manifests/<host>/<namespace>/<model>/<tag>   JSON
//   $root/blobs/sha256-<64 hex>                        weights, config, texts
// Nothing is cached: every call reads the disk, so what another process adds is seen at once. Files
// appear only by rename after fsync, so a kill at any moment leaves the store as it was before or
// as it is after (and perhaps a temporary file, see remove_stale_files). Writers of several
// processes exclude each other with a lock on $root/.sluice.lock. Safe to share between threads.
class Store {
 public:
  // Touches nothing; folders are made by the first import.
  explicit Store(std::string root);
  const std::string& root() const { return root_; }

  // All readable models; an absent folder is an empty store. Throws only if the folder of manifests
  // is there and cannot be read.
  ModelList list() const;

  // Looks a model up, without regard to case. Nothing when there is none; Error(kCorruptData)
  // naming the manifest when it is unreadable or the blob when it is damaged (weights are looked at
  // by their size alone), Error(kNotFound) naming a blob that it needs and is missing.
  std::optional<ModelRecord> find(const ModelName& name) const;
  // As find(); throws Error(kInvalidArgument, "invalid model name") or
  // Error(kNotFound, "model 'TEXT' not found") with the name as it was written.
  ModelRecord get(std::string_view name) const;

  // Whether the name stands for anything, be it whole or broken.
  bool contains(const ModelName& name) const { return locate(name).has_value(); }

  // Removes the name, be what it stands for whole or broken, and the blobs that no other model
  // uses. (As long as some manifest cannot be read, blobs are kept: it might use them.) Throws
  // Error(kNotFound).
  RemoveResult remove(const ModelName& name);

  // Gives the model a second name, replacing what had that name. Throws Error(kNotFound),
  // kCorruptData for a manifest that cannot be read, kNoSpace, kIo.
  void copy(const ModelName& source, const ModelName& destination);

  // Takes a GGUF file in under `name`, replacing what had that name. The file is checked whole
  // first; an existing blob with the same content is used again, and a damaged one is replaced.
  // Throws Error: what gguf::File
  // throws, kNoSpace with what is needed and what is free, kIo. On any failure nothing changes.
  ModelRecord import_gguf(const std::string& path, const ModelName& name,
                          const ImportOptions& options = {});

  // True when the blob is there and as long as that. (Its bytes were checked when it came in;
  // doctor.h checks them again.)
  bool has_blob(const Digest& digest, uint64_t size_bytes) const;

  // Gives `name` to a manifest whose blobs are in the store, replacing what had that name. The text
  // is stored byte for byte. When others have removed some of the blobs, those are told: fetch them
  // and commit again. (Who knows our lock can only have done so before; nothing has changed then.)
  // Throws Error: kCorruptData for a manifest that is none, kNoSpace, kIo.
  struct CommitResult {
    std::vector<Layer> missing;
    RemoveResult removed;  // what only the replaced manifest used
  };
  CommitResult commit(const ModelName& name, std::string_view manifest_text);

  // Deletes temporary files that killed programs left: those that cannot be gone on with when they
  // are older than `age`, those that can (PartialBlob) after a week. Returns how many.
  int remove_stale_files(std::chrono::seconds age = std::chrono::hours(1));

  // Where the blob is, or would be.
  std::string blob_path(const Digest& digest) const;
  std::string manifest_path(const ModelName& name) const;
  // The model's manifest as it is on the disk. Throws Error(kNotFound).
  std::string read_manifest(const ModelName& name) const;

  struct FoundManifest {
    ModelName name;  // with the casing on disk
    std::string path;
  };
  // Every file that has the place of a manifest, whatever is in it.
  std::vector<FoundManifest> scan_manifests() const;

 private:
  std::optional<FoundManifest> locate(const ModelName& name) const;
  FoundManifest require(const ModelName& name) const;  // throws Error(kNotFound)
  ModelRecord read_record(const FoundManifest& found, bool with_texts) const;
  // Nothing for a manifest that cannot be read.
  static std::optional<Manifest> try_read_manifest(const FoundManifest& found);
  // The whole of a small blob, at most `max_bytes`, checked by its digest.
  std::string read_blob(const Layer& layer, size_t max_bytes) const;
  void read_texts(ModelRecord& record) const;
  void check_weights(const ModelRecord& record) const;
  // Under the lock: the manifest gets its place, then what the replaced one used alone goes.
  RemoveResult replace_manifest(const FoundManifest& target, TemporaryFile file);
  FoundManifest place_of(const ModelName& name) const;
  RemoveResult remove_unused_blobs(const Manifest& removed);

  std::string root_;
};

}  // namespace sluice::store
