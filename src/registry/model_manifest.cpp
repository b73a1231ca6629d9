#include "registry/model_manifest.h"

#include <utility>

#include "base/error.h"
#include "base/print.h"

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

std::string fetch_text(RegistryClient& client, const Reference& reference) {
  WebRequest request{.url = reference.url("manifests/" + reference.name.tag)};
  request.headers = {
      {"accept", std::string(store::kManifestType) + ", " + std::string(kOciManifestType)}};
  constexpr int kMaxRounds = 3;
  for (int round = 1;; ++round) {
    WebReply reply = client.send(request, kMaxManifestBytes);
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

}  // namespace

ModelManifest fetch_manifest(RegistryClient& client, const Reference& reference) {
  ModelManifest result;
  result.text = fetch_text(client, reference);
  result.manifest = store::parse_manifest(result.text);
  check_manifest(result.manifest);
  return result;
}

}  // namespace sluice::registry
