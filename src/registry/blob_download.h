#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "registry/backoff.h"
#include "registry/registry_client.h"
#include "store/partial_blob.h"

namespace sluice::registry {

// Fetches what is missing of a large file, several ranges at a time, each again from where it broke
// off. From a server that knows no ranges, or makes nothing of them, in one piece. What has come
// stays in the PartialBlob whatever happens. For one thread, the one that runs the client.
class BlobDownload {
 public:
  // `what` names the file in messages: "blob 0123456789ab".
  BlobDownload(RegistryClient& client, WebUrl url, store::PartialBlob& blob, std::string what);
  ~BlobDownload();  // ends what runs
  BlobDownload(const BlobDownload&) = delete;
  BlobDownload& operator=(const BlobDownload&) = delete;

  // Returns when all bytes are there; `on_progress` is called often meanwhile. Throws Error: kIo
  // when too many attempts gained nothing, kCorruptData for a server that lies (about lengths,
  // ranges), kNotFound, kNoSpace, kCancelled.
  void run(const std::function<void()>& on_progress);

 private:
  // One range on its way.
  struct Slot {
    explicit Slot(const RegistryOptions& options) : backoff(options) {}
    WebTransport::Id id = 0;  // 0: idle
    bool has_chunk = false;
    size_t chunk = 0;
    WebRequest request;
    bool used_direct_url = false;
    int num_hops = 0;
    bool takes_bytes = false;  // the reply is the file, not an error
    bool is_whole = false;     // the reply begins at the front of the file, whatever was asked for
    uint64_t position = 0;     // of the next byte
    std::vector<std::byte> unwritten;  // what came before it: curl gives 16 KiB at a time
    uint64_t end = 0;                  // of the range that was asked for
    uint64_t gained_bytes = 0;         // since the last failure
    std::string error_body;
    Backoff backoff;
    std::chrono::steady_clock::time_point not_before;
  };

  bool give_chunk(Slot& slot);
  void begin(Slot& slot);
  void start(Slot& slot);
  void take_head(Slot& slot, const WebHead& head);
  void flush(Slot& slot);
  void take_body(Slot& slot, std::span<const std::byte> bytes);
  void finish(Slot& slot, WebResult result);
  void finish_reply(Slot& slot, const WebHead& head);
  void retry(Slot& slot, const std::string& reason, std::chrono::milliseconds at_least);
  void keep_only(Slot& slot);
  Error lie(const std::string& what) const;

  RegistryClient& client_;
  const WebUrl url_;
  store::PartialBlob& blob_;
  const std::string what_;
  WebUrl direct_url_;  // where redirects led; no host when none did
  bool knows_no_ranges_ = false;
  size_t next_chunk_ = 0;
  std::vector<std::unique_ptr<Slot>> slots_;
};

}  // namespace sluice::registry
