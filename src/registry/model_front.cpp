#include "registry/model_front.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "registry/model_manifest.h"
#include "registry/registry_client.h"

namespace sluice::registry {
namespace {

constexpr uint64_t kFirstBytes = uint64_t{1} << 20;
constexpr uint64_t kMostBytes = uint64_t{256} << 20;
constexpr uint64_t kGrowth = 4;

std::string fetch_range(RegistryClient& client, const WebUrl& url, uint64_t begin, uint64_t end) {
  WebRequest request{.url = url};
  request.headers = {{"range", "bytes=" + std::to_string(begin) + "-" + std::to_string(end - 1)}};
  WebReply reply = client.send(request, end - begin);
  if (!reply.head.is_success())
    fail_status("fetching the head of the model", reply.head, reply.body);
  if (reply.head.status != 206 && begin > 0) {
    throw Error(ErrorCode::kUnsupported,
                url.host + " gives no parts of files: pull the model to look at it");
  }
  if (reply.body.size() != end - begin) {
    throw Error(ErrorCode::kCorruptData, url.host + " gave " + std::to_string(reply.body.size()) +
                                             " bytes where " + std::to_string(end - begin) +
                                             " were asked for");
  }
  return std::move(reply.body);
}

}  // namespace

ModelFront fetch_front(const Reference& reference, const RegistryOptions& options,
                       const std::function<bool(const ModelFront&)>& is_enough,
                       std::stop_token stop) {
  RegistryClient client(reference, options, std::move(stop));
  const store::Manifest manifest = fetch_manifest(client, reference).manifest;
  const store::Layer& weights = *manifest.find_layer(store::kModelLayer);
  const WebUrl url = reference.url("blobs/" + weights.digest.text());
  ModelFront front{"", weights.size_bytes};
  for (uint64_t wanted = kFirstBytes; wanted <= kMostBytes; wanted *= kGrowth) {
    const uint64_t end = std::min(wanted, front.size_bytes);
    if (end > front.bytes.size()) front.bytes += fetch_range(client, url, front.bytes.size(), end);
    if (is_enough(front)) return front;
    if (end == front.size_bytes) break;
  }
  throw Error(ErrorCode::kCorruptData, "the head of " + reference.name.full_name() +
                                           " does not end within " +
                                           std::to_string(front.bytes.size() >> 20) + " MiB");
}

}  // namespace sluice::registry
