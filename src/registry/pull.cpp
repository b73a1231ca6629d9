#include "registry/pull.h"

#include <set>
#include <utility>
#include <vector>

#include "base/error.h"
#include "registry/blob_pull.h"
#include "registry/model_manifest.h"
#include "registry/registry_client.h"
#include "store/files.h"
#include "store/layout.h"

namespace sluice::registry {
namespace {

class Puller {
 public:
  Puller(store::Store& store, const Reference& reference, const RegistryOptions& options,
         const OnProgress& on_progress, std::stop_token stop)
      : store_(store),
        reference_(reference),
        on_progress_(on_progress),
        client_(reference, options, std::move(stop)) {}

  void run() {
    on_progress_({.status = "pulling manifest"});
    const auto [text, manifest] = fetch_manifest(client_, reference_);
    store::make_directories(store::blobs_folder(store_.root()));
    std::vector<store::Layer> wanted = unique_blobs(manifest);
    require_room(wanted);
    constexpr int kMaxRounds = 3;  // as others may remove what is not in use yet
    for (int round = 1;; ++round) {
      for (const store::Layer& layer : wanted) fetch(layer);
      on_progress_({.status = "verifying sha256 digest"});
      on_progress_({.status = "writing manifest"});
      const auto result = store_.commit(reference_.name, text);
      if (result.missing.empty()) {
        if (result.removed.num_blobs_removed > 0)
          on_progress_({.status = "removing unused layers"});
        break;
      }
      if (round == kMaxRounds) {
        throw Error(ErrorCode::kBusy, "another program removes the blobs that were just fetched");
      }
      wanted = result.missing;
    }
    on_progress_({.status = "success"});
  }

 private:
  // Layers, then the config, as Ollama has them; what is there twice comes once.
  static std::vector<store::Layer> unique_blobs(const store::Manifest& manifest) {
    std::vector<store::Layer> blobs;
    std::set<store::Digest> seen;
    const auto add = [&](const store::Layer& layer) {
      if (seen.insert(layer.digest).second) blobs.push_back(layer);
    };
    for (const store::Layer& layer : manifest.layers) add(layer);
    add(manifest.config);
    return blobs;
  }

  void require_room(const std::vector<store::Layer>& blobs) const {
    const std::string folder = store::blobs_folder(store_.root());
    uint64_t needed = 0;
    for (const store::Layer& blob : blobs) {
      if (store_.has_blob(blob.digest, blob.size_bytes)) continue;
      needed += blob.size_bytes -
                store::PartialBlob::look_up_completed(folder, blob.digest, blob.size_bytes);
    }
    store::require_space(folder, needed);
  }

  void fetch(const store::Layer& layer) {
    fetch_blob(client_, store_, layer, reference_.url("blobs/" + layer.digest.text()),
               on_progress_);
  }

  store::Store& store_;
  const Reference& reference_;
  const OnProgress& on_progress_;
  RegistryClient client_;
};

}  // namespace

void pull(store::Store& store, const Reference& reference, const RegistryOptions& options,
          const OnProgress& on_progress, std::stop_token stop) {
  Puller(store, reference, options, on_progress, std::move(stop)).run();
}

}  // namespace sluice::registry
