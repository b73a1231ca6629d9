#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "registry/progress.h"
#include "registry/registry_client.h"
#include "store/partial_blob.h"
#include "store/store.h"

namespace sluice::registry {

// Tells where a blob is, at most every 60 ms unless it is done.
class BlobTeller {
 public:
  BlobTeller(const OnProgress& on_progress, Progress line)
      : on_progress_(on_progress), line_(std::move(line)) {}
  void tell(uint64_t completed_bytes);

 private:
  const OnProgress& on_progress_;
  Progress line_;
  bool has_told_ = false;
  std::chrono::steady_clock::time_point told_;
};

// A file that is to be fetched.
struct WantedFile {
  WebUrl url;
  store::Digest key;  // of the PartialBlob
  uint64_t size_bytes = 0;
  std::string what;  // for messages
};

// Brings all of a file into a PartialBlob, which is hashed meanwhile, and returns it complete.
// While another program fetches the same, waits for that; null when `is_there()` has become true.
// Throws what BlobDownload does.
std::unique_ptr<store::PartialBlob> fetch_file(RegistryClient& client, const std::string& folder,
                                               const WantedFile& file,
                                               const std::function<bool()>& is_there,
                                               BlobTeller& teller);

// A blob of the registry into the store, checked; nothing when it is there.
void fetch_blob(RegistryClient& client, const store::Store& store, const store::Layer& layer,
                const WebUrl& url, const OnProgress& on_progress);

}  // namespace sluice::registry
