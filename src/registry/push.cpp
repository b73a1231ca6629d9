#include "registry/push.h"

#include <set>

#include "base/error.h"
#include "registry/blob_push.h"

namespace sluice::registry {
namespace {

void push_blob(RegistryClient& client, const Reference& reference, const store::Store& store,
               const store::Layer& layer, const OnProgress& on_progress) {
  BlobTeller teller(on_progress, {.status = "pushing " + layer.digest.short_id(),
                                  .digest = layer.digest.text(),
                                  .total_bytes = layer.size_bytes});
  BlobPush(client, reference, store, layer, teller).run();
}

}  // namespace

void push(const store::Store& store, const Reference& reference, const RegistryOptions& options,
          const OnProgress& on_progress, std::stop_token stop) {
  on_progress({.status = "retrieving manifest"});
  const std::string text = store.read_manifest(reference.name);
  const store::Manifest manifest = store::parse_manifest(text);
  RegistryClient client(reference, options, std::move(stop));
  std::set<store::Digest> seen;
  const auto send = [&](const store::Layer& layer) {
    if (seen.insert(layer.digest).second) push_blob(client, reference, store, layer, on_progress);
  };
  for (const store::Layer& layer : manifest.layers) send(layer);
  send(manifest.config);
  on_progress({.status = "pushing manifest"});
  const WebReply reply =
      client.send({.method = "PUT",
                   .url = reference.url("manifests/" + reference.name.tag),
                   .headers = {{"content-type", std::string(store::kManifestType)}},
                   .body = text});
  if (!reply.head.is_success()) fail_status("push model manifest", reply.head, reply.body);
  on_progress({.status = "success"});
}

}  // namespace sluice::registry
