#pragma once

#include <string>
#include <vector>

#include "base/input_file.h"
#include "registry/backoff.h"
#include "registry/blob_pull.h"
#include "registry/reference.h"
#include "registry/registry_client.h"

namespace sluice::registry {

// Sends one blob to a registry in parts, each again when it did not arrive. For one thread.
class BlobPush {
 public:
  BlobPush(RegistryClient& client, const Reference& reference, const store::Store& store,
           const store::Layer& layer, BlobTeller& teller);

  // Nothing when the registry has it. Throws what push() does.
  void run();

 private:
  bool is_there();
  bool open();  // false when it was mounted from elsewhere
  void send_parts();
  void send_part(uint64_t size);
  void put_to_redirect(const WebUrl& target, uint64_t size);
  WebRequest part_request(std::string method, WebUrl url, uint64_t size);
  void find_offset();
  void take_location(const WebHead& head);
  void finish();
  void wait_or_fail(const std::string& reason, const WebHead& head);

  RegistryClient& client_;
  const Reference& reference_;
  const store::Layer& layer_;
  BlobTeller& teller_;
  const InputFile file_;
  const std::string what_;
  Backoff backoff_;
  WebUrl location_;
  uint64_t offset_ = 0;  // so much has arrived
  store::Sha256 hash_;
  uint64_t hashed_bytes_ = 0;
  std::string part_digests_;  // MD5, of parts that went where the registry sent us
};

}  // namespace sluice::registry
