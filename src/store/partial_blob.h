#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/input_file.h"
#include "store/sha256.h"

namespace sluice::store {

// A large file on its way into the store, whose bytes come in pieces from several places and which
// a kill does not lose: opened again, it goes on where it was.
//   $root/blobs/sluice-partial-<64 hex>        the bytes, of the full size, with holes
//   $root/blobs/sluice-partial-<64 hex>.done   how much of each chunk is there
// The hexadecimal digits are those of the digest that it is to have, or of whatever else identifies
// it. A kill loses no byte that was written; after a power cut the notes may claim bytes that never
// came to the disk, which the digest tells. Who has it open holds it alone among threads and
// programs. One thread writes; another may read and hash at the same time.
class PartialBlob {
 public:
  static constexpr std::string_view kPrefix = "sluice-partial-";
  static constexpr std::string_view kNotesSuffix = ".done";

  // A piece of the file that is filled from its front.
  struct Chunk {
    uint64_t offset = 0;
    uint64_t size_bytes = 0;
    uint64_t completed_bytes = 0;
    bool is_complete() const { return completed_bytes == size_bytes; }
  };

  // Goes on with what is there, or begins. Null while another thread or program holds it. The
  // folder must exist. Throws Error(kIo, kNoSpace).
  static std::unique_ptr<PartialBlob> try_open(const std::string& folder, const Digest& key,
                                               uint64_t size_bytes);
  PartialBlob(const PartialBlob&) = delete;
  PartialBlob& operator=(const PartialBlob&) = delete;
  // How much whoever holds it has written; 0 when there is none.
  static uint64_t look_up_completed(const std::string& folder, const Digest& key,
                                    uint64_t size_bytes);

  // Where the one of that key is, or would be.
  static std::string path_of(const std::string& folder, const Digest& key);

  const std::string& path() const { return path_; }
  uint64_t size_bytes() const { return size_bytes_; }
  size_t num_chunks() const { return num_chunks_; }
  Chunk chunk(size_t index) const;
  uint64_t completed_bytes() const { return completed_bytes_.load(std::memory_order_relaxed); }
  bool is_complete() const { return completed_bytes() == size_bytes_; }

  // Bytes of the file from `offset` on. What is there already is passed over; what would leave a
  // hole in its chunk, or passes the end, is an Error(kInternal). Throws what write_at() does.
  void write(uint64_t offset, std::span<const std::byte> bytes);

  // Hashes what has come in behind what is hashed already, up to the first hole, but at most
  // `max_bytes`; returns how much that was. From one thread at a time.
  uint64_t hash_available(uint64_t max_bytes);
  uint64_t hashed_bytes() const { return hashed_bytes_; }
  // Of the whole; everything must be there and hashed.
  Digest finish_digest() { return hash_.finish(); }

  // To disk: safe when this returns.
  void sync();
  // To its place, replacing what was there; sync() was before.
  void commit(const std::string& destination);
  // Removes it.
  void discard();

  // Removes those that nobody has written to for `age_seconds` and nobody holds, and notes without
  // a file. Returns how many.
  static int remove_stale(const std::string& folder, int64_t age_seconds);

 private:
  PartialBlob(std::string path, FileDescriptor data, uint64_t size_bytes);
  bool resume();
  void begin();

  std::string path_;
  FileDescriptor data_;
  FileDescriptor notes_;
  uint64_t size_bytes_ = 0;
  uint64_t chunk_bytes_ = 0;
  size_t num_chunks_ = 0;
  std::unique_ptr<std::atomic<uint64_t>[]> completed_;  // [num_chunks_], bytes
  std::atomic<uint64_t> completed_bytes_ = 0;
  Sha256 hash_;
  uint64_t hashed_bytes_ = 0;
};

}  // namespace sluice::store
