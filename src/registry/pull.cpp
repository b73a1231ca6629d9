#include "registry/pull.h"

#include <set>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/print.h"
#include "registry/blob_pull.h"
#include "registry/challenge.h"
#include "registry/registry_client.h"
#include "store/files.h"
#include "store/layout.h"

namespace sluice::registry {
namespace {

constexpr size_t kMaxManifestBytes = size_t{4} << 20;
constexpr size_t kMaxLayers = 1000;
constexpr uint64_t kMaxTextBytes = uint64_t{16} << 20;  // of config and layers of text
constexpr std::string_view kOciManifestType = "application/vnd.oci.image.manifest.v1+json";
constexpr std::string_view kTensorLayer = "application/vnd.ollama.image.tensor";

bool is_weights(std::string_view media_type) {
  return media_type == store::kModelLayer || media_type == store::kProjectorLayer ||
         media_type == store::kAdapterLayer;
}

// Throws for what would be fetched for nothing, or could not be used afterwards.
void check_manifest(const store::Manifest& manifest) {
  if (manifest.layers.size() > kMaxLayers) {
    throw Error(ErrorCode::kCorruptData,
                "the manifest has " + std::to_string(manifest.layers.size()) +
                    " layers; more than " + std::to_string(kMaxLayers) + " are not accepted");
  }
  if (manifest.find_layer(kTensorLayer)) {
    throw Error(ErrorCode::kUnsupported,
                "this model requires MLX support, but the MLX runtime is not available");
  }
  if (!manifest.find_layer(store::kModelLayer)) {
    const std::string type = manifest.layers.empty() ? "none" : manifest.layers[0].media_type;
    throw Error(ErrorCode::kUnsupported, "that is no model: no layer of weights is in it (but " +
                                             printable(type.substr(0, 100)) + ")");
  }
  uint64_t total = 0;
  const auto check_layer = [&](const store::Layer& layer) {
    if (layer.size_bytes > kMaxTextBytes && !is_weights(layer.media_type)) {
      throw Error(ErrorCode::kCorruptData, "the manifest has a layer of " +
                                               std::to_string(layer.size_bytes) +
                                               " bytes where a short text belongs (" +
                                               printable(layer.media_type.substr(0, 100)) + ")");
    }
    total += layer.size_bytes;
    if (total >> 62 != 0)
      throw Error(ErrorCode::kCorruptData, "the manifest's sizes are impossible");
  };
  check_layer(manifest.config);
  for (const store::Layer& layer : manifest.layers) check_layer(layer);
}

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
    const std::string text = fetch_manifest();
    const store::Manifest manifest = store::parse_manifest(text);
    check_manifest(manifest);
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
  std::string fetch_manifest() {
    WebRequest request{.url = reference_.url("manifests/" + reference_.name.tag)};
    request.headers = {
        {"accept", std::string(store::kManifestType) + ", " + std::string(kOciManifestType)}};
    constexpr int kMaxRounds = 3;
    for (int round = 1;; ++round) {
      WebReply reply = client_.send(request, kMaxManifestBytes);
      if (reply.head.status == 404) {
        throw Error(ErrorCode::kNotFound, "pull model manifest: file does not exist");
      }
      if (!reply.head.is_success()) fail_status("pull model manifest", reply.head, reply.body);
      const std::string promised = reply.head.header("docker-content-digest");
      if (promised.empty() || promised == store::sha256(reply.body).text()) return reply.body;
      if (round == kMaxRounds) {
        throw Error(ErrorCode::kCorruptData,
                    "pull model manifest: it is not what its digest says; try again");
      }
    }
  }

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
