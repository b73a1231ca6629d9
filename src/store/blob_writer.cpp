#include "store/blob_writer.h"

#include "base/error.h"
#include "store/layout.h"

namespace sluice::store {
namespace {

// The folder of blobs, made and with that much room.
std::string prepared_blobs_folder(const Store& store, uint64_t needed_bytes) {
  std::string folder = blobs_folder(store.root());
  make_directories(folder);
  require_space(folder, needed_bytes);
  return folder;
}

}  // namespace

BlobWriter::BlobWriter(const Store& store, Digest digest, uint64_t expected_bytes)
    : path_(blobs_folder(store.root()) + "/" + digest.file_name()),
      digest_(std::move(digest)),
      file_(prepared_blobs_folder(store, expected_bytes)) {}

void BlobWriter::write(std::span<const std::byte> bytes) {
  hash_.update(bytes);
  file_.write(bytes);
}

void BlobWriter::commit() {
  const Digest found = hash_.finish();
  if (found != digest_) {
    throw Error(ErrorCode::kInvalidArgument,
                "digest mismatch, expected " + digest_.text() + ", got " + found.text());
  }
  file_.commit(path_);
}

}  // namespace sluice::store
