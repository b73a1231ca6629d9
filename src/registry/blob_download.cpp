#include "registry/blob_download.h"

#include <algorithm>
#include <charconv>

#include "base/error.h"
#include "registry/challenge.h"

namespace sluice::registry {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr milliseconds kPatience{50};
constexpr uint64_t kWorthwhileBytes = 4096;  // an attempt that brought so much was not in vain
constexpr size_t kWriteBytes = size_t{512} << 10;
constexpr size_t kMaxErrorBody = size_t{4} << 10;

std::optional<uint64_t> content_length(const WebHead& head) {
  const std::string text = head.header("content-length");
  uint64_t length = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), length);
  if (text.empty() || error != std::errc() || end != text.data() + text.size()) return {};
  return length;
}

}  // namespace

BlobDownload::BlobDownload(RegistryClient& client, WebUrl url, store::PartialBlob& blob,
                           std::string what)
    : client_(client), url_(std::move(url)), blob_(blob), what_(std::move(what)) {
  const size_t wanted = static_cast<size_t>(std::max(1, client.options().num_ranges));
  const size_t num_slots = std::min(wanted, std::max<size_t>(1, blob.num_chunks()));
  for (size_t i = 0; i < num_slots; ++i) {
    slots_.push_back(std::make_unique<Slot>(client.options()));
  }
}

BlobDownload::~BlobDownload() {
  for (const auto& slot : slots_) {
    if (slot->id != 0) client_.transport().cancel(slot->id);
    try {
      flush(*slot);
    } catch (const Error&) {  // what came last comes again
    }
  }
}

Error BlobDownload::lie(const std::string& what) const {
  return Error(ErrorCode::kCorruptData, url_.host + ": " + what_ + ": " + what);
}

void BlobDownload::run(const std::function<void()>& on_progress) {
  while (!blob_.is_complete()) {
    const auto now = Clock::now();
    for (const auto& slot : slots_) {
      if (slot->id == 0 && now >= slot->not_before && give_chunk(*slot)) begin(*slot);
    }
    for (WebResult& result : client_.transport().run(kPatience)) {
      const auto slot = std::find_if(slots_.begin(), slots_.end(),
                                     [&](const auto& s) { return s->id == result.id; });
      if (slot == slots_.end()) continue;
      (*slot)->id = 0;
      finish(**slot, std::move(result));
    }
    if (knows_no_ranges_ && slots_.size() > 1) {
      const auto whole =
          std::find_if(slots_.begin(), slots_.end(), [](const auto& s) { return s->is_whole; });
      keep_only(whole == slots_.end() ? *slots_.front() : **whole);
    }
    on_progress();
  }
}

// The reply of this one brings everything.
void BlobDownload::keep_only(Slot& kept) {
  for (const auto& slot : slots_) {
    if (slot.get() != &kept && slot->id != 0) client_.transport().cancel(slot->id);
  }
  std::erase_if(slots_, [&](const auto& slot) { return slot.get() != &kept; });
}

bool BlobDownload::give_chunk(Slot& slot) {
  if (slot.has_chunk && !blob_.chunk(slot.chunk).is_complete()) return true;
  slot.has_chunk = false;
  const auto is_taken = [&](size_t chunk) {
    return std::any_of(slots_.begin(), slots_.end(), [&](const auto& other) {
      return other->has_chunk && other->chunk == chunk;
    });
  };
  for (size_t step = 0; step < blob_.num_chunks(); ++step) {
    const size_t chunk = (next_chunk_ + step) % blob_.num_chunks();
    if (blob_.chunk(chunk).is_complete() || is_taken(chunk)) continue;
    slot.has_chunk = true;
    slot.chunk = chunk;
    next_chunk_ = chunk + 1;
    return true;
  }
  return false;
}

void BlobDownload::begin(Slot& slot) {
  slot.used_direct_url = !direct_url_.host.empty();
  slot.request = WebRequest{.url = slot.used_direct_url ? direct_url_ : url_};
  slot.num_hops = 0;
  start(slot);
}

void BlobDownload::start(Slot& slot) {
  const auto chunk = blob_.chunk(slot.chunk);
  slot.position = chunk.offset + chunk.completed_bytes;
  slot.end = chunk.offset + chunk.size_bytes;
  slot.is_whole = slot.takes_bytes = false;
  slot.error_body.clear();
  WebRequest& request = slot.request;
  request.headers = {{"accept-encoding", "identity"}};
  if (slot.position > 0 || slot.end < blob_.size_bytes()) {
    request.headers.emplace_back(
        "range", "bytes=" + std::to_string(slot.position) + "-" + std::to_string(slot.end - 1));
  }
  client_.add_credentials(request);
  WebTransfer transfer;
  transfer.request = request;
  transfer.is_unverified = client_.is_unverified();
  transfer.on_head = [this, &slot](const WebHead& head) { take_head(slot, head); };
  transfer.on_body = [this, &slot](std::span<const std::byte> bytes) { take_body(slot, bytes); };
  slot.id = client_.transport().start(std::move(transfer));
}

void BlobDownload::take_head(Slot& slot, const WebHead& head) {
  if (head.status == 206) {
    ContentRange range;
    if (!parse_content_range(head.header("content-range"), range)) {
      throw lie("the reply does not say which part of the file it is");
    }
    if (range.total != blob_.size_bytes()) {
      throw lie("the file has " + std::to_string(range.total) + " bytes instead of " +
                std::to_string(blob_.size_bytes()));
    }
    if (range.first != slot.position || range.last >= slot.end) {
      throw lie("another part of the file came than the one that was asked for");
    }
  } else if (head.status == 200) {
    const auto length = content_length(head);
    if (length && *length != blob_.size_bytes()) {
      throw lie("the file has " + std::to_string(*length) + " bytes instead of " +
                std::to_string(blob_.size_bytes()));
    }
    if (slot.position > 0 || slot.end < blob_.size_bytes()) knows_no_ranges_ = true;
    slot.is_whole = true;
    slot.position = 0;
    slot.end = blob_.size_bytes();
  } else {
    return;
  }
  slot.takes_bytes = true;
  if (slot.num_hops > 0) direct_url_ = slot.request.url;
}

void BlobDownload::take_body(Slot& slot, std::span<const std::byte> bytes) {
  if (!slot.takes_bytes) {
    const size_t room = kMaxErrorBody - std::min(kMaxErrorBody, slot.error_body.size());
    slot.error_body.append(reinterpret_cast<const char*>(bytes.data()),
                           std::min(room, bytes.size()));
    return;
  }
  if (bytes.size() > slot.end - slot.position) throw lie("more came than was asked for");
  if (slot.unwritten.capacity() == 0) slot.unwritten.reserve(kWriteBytes);
  slot.unwritten.insert(slot.unwritten.end(), bytes.begin(), bytes.end());
  slot.position += bytes.size();
  slot.gained_bytes += bytes.size();
  if (slot.unwritten.size() + bytes.size() > kWriteBytes) flush(slot);
}

void BlobDownload::flush(Slot& slot) {
  blob_.write(slot.position - slot.unwritten.size(), slot.unwritten);
  slot.unwritten.clear();
}

void BlobDownload::finish(Slot& slot, WebResult result) {
  flush(slot);
  switch (result.kind) {
    case WebResult::Kind::kDone:
      finish_reply(slot, result.head);
      return;
    case WebResult::Kind::kBroken:
      retry(slot, result.message, milliseconds(0));
      return;
    case WebResult::Kind::kImpossible:
    case WebResult::Kind::kThrown:
      result.raise_if_failed();
  }
}

void BlobDownload::finish_reply(Slot& slot, const WebHead& head) {
  const WebUrl& asked = slot.request.url;
  if (head.status == 200 || head.status == 206) {
    if (blob_.chunk(slot.chunk).is_complete()) {
      slot.backoff.reset();
      slot.gained_bytes = 0;
    } else {
      retry(slot, asked.host + " ended its reply too early", milliseconds(0));
    }
  } else if (head.is_redirect()) {
    slot.request.url = client_.follow(asked, head, slot.num_hops++);
    start(slot);
  } else if (head.status == 401 && asked.has_same_origin(url_) &&
             client_.sign_in(slot.request, head)) {
    start(slot);
  } else if (slot.used_direct_url && head.status / 100 == 4) {
    direct_url_ = {};  // such addresses hold for a while only
    retry(slot, asked.host + " answered " + std::to_string(head.status), milliseconds(0));
  } else if (is_temporary(head.status)) {
    retry(slot, asked.host + " answered " + std::to_string(head.status), retry_after(head));
  } else if (head.status == 416) {
    throw lie("the file is shorter than " + std::to_string(blob_.size_bytes()) + " bytes");
  } else {
    fail_status(what_, head, slot.error_body);
  }
}

void BlobDownload::retry(Slot& slot, const std::string& reason, milliseconds at_least) {
  if (slot.gained_bytes >= kWorthwhileBytes) slot.backoff.reset();
  slot.gained_bytes = 0;
  if (!slot.backoff.may_go_on()) {
    throw Error(ErrorCode::kIo, what_ + ": " + reason + " (" +
                                    std::to_string(client_.options().max_attempts) +
                                    " attempts); what has come is kept: try again to go on");
  }
  slot.not_before = Clock::now() + std::max(slot.backoff.next_delay(), at_least);
}

}  // namespace sluice::registry
