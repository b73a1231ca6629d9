#include "registry/blob_push.h"

#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "base/error.h"
#include "registry/challenge.h"

namespace sluice::registry {
namespace {

constexpr uint64_t kPartBytes = uint64_t{64} << 20;
constexpr size_t kMaxReply = size_t{64} << 10;
constexpr size_t kReadBytes = size_t{1} << 20;

std::string md5(const InputFile& file, uint64_t offset, uint64_t size) {
  EVP_MD_CTX* context = EVP_MD_CTX_new();
  if (!context) throw std::bad_alloc();
  const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> owner(context, EVP_MD_CTX_free);
  bool is_fine = EVP_DigestInit_ex(context, EVP_md5(), nullptr) == 1;
  std::vector<std::byte> buffer(kReadBytes);
  while (size > 0) {
    const auto piece = std::span(buffer).first(std::min<uint64_t>(size, buffer.size()));
    file.read(offset, piece);
    is_fine = is_fine && EVP_DigestUpdate(context, piece.data(), piece.size()) == 1;
    offset += piece.size();
    size -= piece.size();
  }
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest;
  unsigned length = 0;
  is_fine = is_fine && EVP_DigestFinal_ex(context, digest.data(), &length) == 1;
  if (!is_fine) throw Error(ErrorCode::kInternal, "MD5 is not available in this OpenSSL");
  return {reinterpret_cast<const char*>(digest.data()), length};
}

std::string md5_hex(std::string_view text) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest;
  unsigned length = 0;
  if (EVP_Digest(text.data(), text.size(), digest.data(), &length, EVP_md5(), nullptr) != 1) {
    throw Error(ErrorCode::kInternal, "MD5 is not available in this OpenSSL");
  }
  std::string hex;
  for (unsigned i = 0; i < length; ++i) {
    constexpr std::string_view kDigits = "0123456789abcdef";
    hex += kDigits[digest[i] >> 4];
    hex += kDigits[digest[i] & 15];
  }
  return hex;
}

}  // namespace

BlobPush::BlobPush(RegistryClient& client, const Reference& reference, const store::Store& store,
                   const store::Layer& layer, BlobTeller& teller)
    : client_(client),
      reference_(reference),
      layer_(layer),
      teller_(teller),
      file_(store.blob_path(layer.digest)),
      what_("blob " + layer.digest.short_id()),
      backoff_(client.options()) {
  if (file_.size_bytes() != layer.size_bytes) {
    throw Error(ErrorCode::kCorruptData,
                "'" + file_.path() + "' is damaged; import or pull the model again");
  }
}

void BlobPush::run() {
  teller_.tell(0);
  if (!is_there() && open()) {
    send_parts();
    finish();
  }
  teller_.tell(layer_.size_bytes);
}

bool BlobPush::is_there() {
  const WebReply reply = client_.send(
      {.method = "HEAD", .url = reference_.url("blobs/" + layer_.digest.text())}, kMaxReply);
  if (reply.head.status == 404) return false;
  if (!reply.head.is_success()) fail_status(what_, reply.head, reply.body);
  return true;
}

bool BlobPush::open() {
  std::string target = "blobs/uploads/";
  if (!layer_.from.empty()) {
    const auto from = store::ModelName::try_parse(layer_.from);
    if (from) {
      target += "?mount=" + percent_encode(layer_.digest.text()) +
                "&from=" + percent_encode(from->name_space + "/" + from->model);
    }
  }
  const WebReply reply = client_.send({.method = "POST", .url = reference_.url(target)}, kMaxReply);
  if (reply.head.status == 201) return false;
  if (!reply.head.is_success()) fail_status(what_, reply.head, reply.body);
  location_ = reference_.url("");
  take_location(reply.head);
  return true;
}

void BlobPush::take_location(const WebHead& head) {
  std::string next = head.header("docker-upload-location");
  if (next.empty()) next = head.header("location");
  if (next.empty()) {
    throw Error(ErrorCode::kCorruptData, location_.host + " does not say where the upload goes on");
  }
  location_ = location_.resolve(next);
}

void BlobPush::send_parts() {
  while (offset_ < layer_.size_bytes) {
    send_part(std::min(kPartBytes, layer_.size_bytes - offset_));
  }
}

// A request with the next `size` bytes of the file as its body, which are hashed on their way.
WebRequest BlobPush::part_request(std::string method, WebUrl url, uint64_t size) {
  WebRequest request{.method = std::move(method), .url = std::move(url)};
  request.headers = {{"content-type", "application/octet-stream"}};
  request.body_bytes = size;
  request.read_body = [this, at = offset_, end = offset_ + size](std::span<std::byte> out) mutable {
    const size_t count = std::min<uint64_t>(out.size(), end - at);
    const auto piece = out.first(count);
    file_.read(at, piece);
    if (at <= hashed_bytes_ && at + count > hashed_bytes_) {
      const auto fresh = piece.subspan(hashed_bytes_ - at);
      hash_.update(fresh);
      hashed_bytes_ += fresh.size();
    }
    at += count;
    teller_.tell(std::min(at, layer_.size_bytes - 1));  // all of it has arrived only at the end
    return count;
  };
  return request;
}

void BlobPush::send_part(uint64_t size) {
  WebRequest request = part_request("PATCH", location_, size);
  request.headers.emplace_back("content-range",
                               std::to_string(offset_) + "-" + std::to_string(offset_ + size - 1));
  request.headers.emplace_back("x-redirect-uploads", "1");
  client_.add_credentials(request);
  const auto [result, body] = client_.transport().send(request, client_.is_unverified(), kMaxReply);
  const WebHead& head = result.head;
  if (result.kind == WebResult::Kind::kBroken) {
    wait_or_fail(result.message, head);
    find_offset();
    return;
  }
  result.raise_if_failed();
  if (head.status == 307) {
    put_to_redirect(location_.resolve(head.header("location")), size);
    take_location(head.header("docker-upload-location").empty()
                      ? WebHead{200, {{"location", location_.text()}}}
                      : head);
    offset_ += size;
  } else if (head.is_success()) {
    take_location(head);
    offset_ += size;
    backoff_.reset();
  } else if (head.status == 401 && client_.sign_in(request, head)) {
    // Once more, with the new token.
  } else if (is_temporary(head.status)) {
    wait_or_fail("status " + std::to_string(head.status), head);
    find_offset();
  } else {
    fail_status(what_, head, body);
  }
}

// A part goes where the registry sends us, without our credentials.
void BlobPush::put_to_redirect(const WebUrl& target, uint64_t size) {
  while (true) {
    WebRequest request = part_request("PUT", target, size);
    const auto [result, body] =
        client_.transport().send(std::move(request), client_.is_unverified(), kMaxReply);
    const bool is_broken = result.kind == WebResult::Kind::kBroken;
    if (!is_broken) result.raise_if_failed();
    if (!is_broken && result.head.is_success()) break;
    if (!is_broken && !is_temporary(result.head.status)) fail_status(what_, result.head, body);
    wait_or_fail(is_broken ? result.message : "status " + std::to_string(result.head.status),
                 result.head);
  }
  part_digests_ += md5(file_, offset_, size);
}

void BlobPush::wait_or_fail(const std::string& reason, const WebHead& head) {
  if (!backoff_.may_go_on()) throw Error(ErrorCode::kIo, what_ + ": " + reason);
  client_.transport().sleep(std::max(backoff_.next_delay(), retry_after(head)));
}

// How much has arrived; from the front when the registry does not know any more.
void BlobPush::find_offset() {
  const WebReply reply = client_.send({.url = location_}, kMaxReply);
  if (reply.head.status == 404) {
    offset_ = 0;
    if (!open()) offset_ = layer_.size_bytes;
    return;
  }
  if (!reply.head.is_success()) fail_status(what_, reply.head, reply.body);
  const std::string range = reply.head.header("range");  // "0-1233"
  const size_t dash = range.find('-');
  uint64_t last = 0;
  const char* end = range.data() + range.size();
  if (dash == std::string::npos ||
      std::from_chars(range.data() + dash + 1, end, last).ec != std::errc()) {
    last = 0;
  }
  // "0-0" is told of nothing and of one byte alike.
  offset_ = last == 0 ? 0 : std::min(last + 1, layer_.size_bytes);
  if (!reply.head.header("location").empty()) take_location(reply.head);
}

void BlobPush::finish() {
  std::vector<std::byte> buffer(kReadBytes);  // what arrived in an attempt that was not hashed
  while (hashed_bytes_ < layer_.size_bytes) {
    const size_t count = file_.read_some(hashed_bytes_, buffer);
    if (count == 0) break;
    hash_.update(std::span<const std::byte>(buffer).first(count));
    hashed_bytes_ += count;
  }
  if (hash_.finish() != layer_.digest) {
    throw Error(ErrorCode::kCorruptData,
                "'" + file_.path() + "' is damaged and was not pushed; pull or import it again");
  }
  WebUrl url = location_;
  const char separator = url.target.find('?') == std::string::npos ? '?' : '&';
  url.target += separator + ("digest=" + percent_encode(layer_.digest.text()));
  if (!part_digests_.empty()) {
    const size_t num_parts = part_digests_.size() / 16;
    url.target += "&etag=" + md5_hex(part_digests_) + "-" + std::to_string(num_parts);
  }
  const WebReply reply = client_.send({.method = "PUT", .url = url}, kMaxReply);
  if (!reply.head.is_success()) fail_status(what_, reply.head, reply.body);
}

}  // namespace sluice::registry
