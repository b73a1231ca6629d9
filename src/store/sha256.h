#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace sluice::store {

// A SHA-256 digest, always 64 lower-case hexadecimal digits. The only way from outside text to a
// blob's path leads through parse(), so no raw text is ever joined to a path.
class Digest {
 public:
  Digest() : hex_(64, '0') {}  // all zeros: of nothing

  // "sha256:<64 hex>" or, as file names have it, "sha256-<64 hex>". Upper case, other lengths and
  // other algorithms give nothing.
  static std::optional<Digest> parse(std::string_view text);
  // As parse(); throws Error(kInvalidArgument, "invalid digest format").
  static Digest parse_or_throw(std::string_view text);
  static Digest from_bytes(std::span<const std::byte, 32> bytes);

  const std::string& hex() const { return hex_; }
  std::string text() const { return "sha256:" + hex_; }       // in manifests and on the wire
  std::string file_name() const { return "sha256-" + hex_; }  // in the folder of blobs
  std::string short_id() const { return hex_.substr(0, 12); }

  bool operator==(const Digest&) const = default;
  auto operator<=>(const Digest&) const = default;

 private:
  explicit Digest(std::string hex) : hex_(std::move(hex)) {}
  std::string hex_;
};

// Incremental SHA-256.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(Sha256&&) noexcept;
  Sha256& operator=(Sha256&&) noexcept;

  void update(std::span<const std::byte> bytes);
  void update(std::string_view text);
  // Ends the computation; the object must not be used afterwards.
  Digest finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

Digest sha256(std::string_view text);

// Digest of a whole file, read in pieces; `progress` (may be empty) is told the bytes done so far.
// Throws Error as io_error does.
Digest sha256_file(const std::string& path,
                   const std::function<void(uint64_t completed_bytes)>& progress = {});

}  // namespace sluice::store
