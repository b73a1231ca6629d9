#include "server/blob_routes.h"

#include <atomic>
#include <optional>
#include <vector>

#include "api/error.h"
#include "base/error.h"
#include "server/on_worker.h"
#include "store/blob_writer.h"
#include "store/files.h"

namespace sluice::server {
namespace {

constexpr size_t kPieceBytes = size_t{1} << 20;
constexpr int kMaxUploads = 16;

store::Digest digest_of(const HttpRequest& request) {
  const std::string_view text =
      std::string_view(request.path).substr(std::string_view("/api/blobs/").size());
  return store::Digest::parse_or_throw(text);
}

bool is_stored(const ServerContext& context, const store::Digest& digest) {
  return store::is_regular_file(context.catalog.store().blob_path(digest));
}

// How many blobs come in at once, in the whole process.
class UploadPlace {
 public:
  UploadPlace() {
    if (++num_taken_ <= kMaxUploads) return;
    --num_taken_;
    throw Error(ErrorCode::kBusy, "server busy: too many uploads at once");
  }
  ~UploadPlace() { --num_taken_; }
  UploadPlace(const UploadPlace&) = delete;

 private:
  static inline std::atomic<int> num_taken_ = 0;
};

}  // namespace

Reply check_blob(const ServerContext& context, const HttpRequest& request, Work&) {
  const store::Digest digest = digest_of(request);
  return Reply{is_stored(context, digest) ? 200 : 404, "", "", {}};
}

// Everything that is awaited has a name: GCC 12 destroys some temporaries of co_await twice.
Awaitable<void> take_blob(const ServerContext& context, Exchange& exchange) {
  const store::Digest digest = digest_of(exchange.request());
  WorkerPool& pool = context.workers.upload;
  const auto look = [&](Work&) { return is_stored(context, digest); };
  const bool is_there = co_await on_worker(pool, exchange, look);
  Reply reply{is_there ? 200 : 201, "", "", {}};
  if (is_there) {
    co_await exchange.respond(std::move(reply));
    co_return;
  }
  const UploadPlace place;
  std::optional<store::BlobWriter> writer;
  std::vector<std::byte> piece(kPieceBytes);
  size_t count = 0;
  const auto open = [&](Work&) {
    writer.emplace(context.catalog.store(), digest, exchange.body_length().value_or(0));
    return true;
  };
  const auto write = [&](Work&) {
    writer->write(std::span<const std::byte>(piece).first(count));
    return true;
  };
  const auto commit = [&](Work&) {
    writer->commit();
    return true;
  };
  co_await on_worker(pool, exchange, open);
  while (true) {
    count = co_await exchange.read_body(piece);
    if (count == 0) break;
    co_await on_worker(pool, exchange, write);
  }
  co_await on_worker(pool, exchange, commit);
  co_await exchange.respond(std::move(reply));
}

}  // namespace sluice::server
