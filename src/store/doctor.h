#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "store/store.h"

namespace sluice::store {

// What is not as it should be.
struct Finding {
  enum class Kind {
    // These make models unusable.
    kUnreadableManifest,
    kMissingBlob,
    kDamagedBlob,  // its bytes are not those of its name, or not as many as a manifest says
    // These only take room.
    kUnusedBlob,
    kHalfWritten,  // what an interrupted pull, upload or import left
    kForeignFile,  // nothing that belongs here; never touched
  };
  Kind kind;
  std::string path;
  std::string detail;               // what is wrong, in words; may be empty
  std::vector<std::string> models;  // short names of those that need it
  uint64_t size_bytes = 0;          // on the disk
  bool is_harmful() const { return kind <= Kind::kDamagedBlob; }
};

struct CheckProgress {
  uint64_t completed_bytes = 0;
  uint64_t total_bytes = 0;
};

struct CheckReport {
  std::vector<Finding> findings;
  int num_models = 0;
  int num_blobs = 0;
  uint64_t checked_bytes = 0;
  bool is_sound() const;  // nothing harmful
};

// Reads all of the store: each manifest, each blob's digest. Takes no lock: what others change
// meanwhile is looked at again before it is told. `on_progress` may throw to end it.
CheckReport check_store(const Store& store,
                        const std::function<void(const CheckProgress&)>& on_progress = {});

struct RepairResult {
  std::vector<std::string> removed;  // paths
  uint64_t freed_bytes = 0;
  std::vector<std::string> incomplete;  // models that must be pulled or imported again
};

// Removes what only takes room and what is damaged, so that a pull fetches it again; blobs that are
// younger than an hour and not in use may belong to somebody who is about to name them, and stay.
// Unreadable manifests stay, as long as they are not empty: nobody knows what was in them. Under
// the store's lock. Throws Error(kBusy, kIo).
RepairResult repair_store(const Store& store, const CheckReport& report);

}  // namespace sluice::store
