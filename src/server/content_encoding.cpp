#include "server/content_encoding.h"

#include <archive.h>
#include <archive_entry.h>

#include <boost/beast/core/string.hpp>
#include <memory>
#include <vector>

#include "base/error.h"

namespace sluice::server {
namespace {

struct UnpackerCloser {
  void operator()(archive* unpacker) const { archive_read_free(unpacker); }
};

constexpr const char* kDamaged = "it is no zstd, cut short or damaged";

[[noreturn]] void refuse_packed(const std::string& why) {
  throw Error(ErrorCode::kInvalidArgument, "the body cannot be unpacked: " + why);
}

}  // namespace

bool is_known_encoding(std::string_view encoding) {
  return encoding.empty() || boost::beast::iequals(encoding, "identity") ||
         boost::beast::iequals(encoding, "zstd");
}

std::string unpack_zstd(std::string_view packed, size_t max_bytes, Work& work) {
  const std::unique_ptr<archive, UnpackerCloser> unpacker(archive_read_new());
  if (!unpacker) throw std::bad_alloc();
  archive_read_support_filter_zstd(unpacker.get());
  archive_read_support_format_raw(unpacker.get());
  archive_read_support_format_empty(unpacker.get());
  archive_entry* entry = nullptr;
  const bool is_open =
      archive_read_open_memory(unpacker.get(), packed.data(), packed.size()) == ARCHIVE_OK;
  const int begun = is_open ? archive_read_next_header(unpacker.get(), &entry) : ARCHIVE_FATAL;
  constexpr int kZstdAndNone = 2;  // filters: what is no zstd has but the one
  if (begun != ARCHIVE_OK && begun != ARCHIVE_EOF) refuse_packed(kDamaged);
  if (archive_filter_count(unpacker.get()) != kZstdAndNone) refuse_packed(kDamaged);
  if (begun == ARCHIVE_EOF) return "";
  std::string body;
  std::vector<char> piece(size_t{256} << 10);
  while (true) {
    const la_ssize_t size = archive_read_data(unpacker.get(), piece.data(), piece.size());
    if (size < 0) refuse_packed(kDamaged);
    if (size == 0) return body;
    work.charge(static_cast<size_t>(size));
    if (body.size() + static_cast<size_t>(size) > max_bytes) {
      refuse_packed("it becomes larger than the " + std::to_string(max_bytes) +
                    " bytes that a body may have");
    }
    body.append(piece.data(), static_cast<size_t>(size));
  }
}

}  // namespace sluice::server
