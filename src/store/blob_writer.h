#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "store/files.h"
#include "store/sha256.h"
#include "store/store.h"

namespace sluice::store {

// A blob that comes in from front to back, its size not known before: it appears in the store when
// all of it has the digest that it should have, and leaves nothing behind otherwise. For one thread
// at a time.
class BlobWriter {
 public:
  // Throws Error: kNoSpace when `expected_bytes` (0: not known) do not fit, kIo.
  BlobWriter(const Store& store, Digest digest, uint64_t expected_bytes = 0);

  // Throws Error(kNoSpace, kIo).
  void write(std::span<const std::byte> bytes);
  // Throws Error(kInvalidArgument, "digest mismatch, expected .., got ..").
  void commit();

 private:
  const std::string path_;
  const Digest digest_;
  TemporaryFile file_;
  Sha256 hash_;
};

}  // namespace sluice::store
