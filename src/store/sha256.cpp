#include "store/sha256.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <vector>

#include "base/error.h"
#include "store/files.h"

namespace sluice::store {
namespace {

constexpr size_t kHexLength = 64;

bool is_lower_hex(char character) {
  return (character >= '0' && character <= '9') || (character >= 'a' && character <= 'f');
}

void check(int result) {
  if (result != 1) throw Error(ErrorCode::kInternal, "SHA-256 is not available in this OpenSSL");
}

}  // namespace

std::optional<Digest> Digest::parse(std::string_view text) {
  constexpr std::string_view kAlgorithm = "sha256";
  if (text.size() != kAlgorithm.size() + 1 + kHexLength) return std::nullopt;
  if (!text.starts_with(kAlgorithm)) return std::nullopt;
  const char separator = text[kAlgorithm.size()];
  if (separator != ':' && separator != '-') return std::nullopt;
  const std::string_view hex = text.substr(kAlgorithm.size() + 1);
  if (!std::all_of(hex.begin(), hex.end(), is_lower_hex)) return std::nullopt;
  return Digest(std::string(hex));
}

Digest Digest::parse_or_throw(std::string_view text) {
  if (auto digest = parse(text)) return *digest;
  throw Error(ErrorCode::kInvalidArgument, "invalid digest format");
}

Digest Digest::from_bytes(std::span<const std::byte, 32> bytes) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string hex;
  hex.reserve(kHexLength);
  for (const std::byte byte : bytes) {
    hex += kDigits[std::to_integer<size_t>(byte >> 4)];
    hex += kDigits[std::to_integer<size_t>(byte & std::byte{15})];
  }
  return Digest(std::move(hex));
}

struct Sha256::State {
  State() : context(EVP_MD_CTX_new()) {
    check(context != nullptr);
    check(EVP_DigestInit_ex(context, EVP_sha256(), nullptr));
  }
  ~State() { EVP_MD_CTX_free(context); }
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  EVP_MD_CTX* context;
};

Sha256::Sha256() : state_(std::make_unique<State>()) {}
Sha256::~Sha256() = default;
Sha256::Sha256(Sha256&&) noexcept = default;
Sha256& Sha256::operator=(Sha256&&) noexcept = default;

void Sha256::update(std::span<const std::byte> bytes) {
  check(EVP_DigestUpdate(state_->context, bytes.data(), bytes.size()));
}

void Sha256::update(std::string_view text) { update(std::as_bytes(std::span(text))); }

Digest Sha256::finish() {
  std::array<std::byte, 32> bytes;
  unsigned int length = 0;
  check(
      EVP_DigestFinal_ex(state_->context, reinterpret_cast<unsigned char*>(bytes.data()), &length));
  return Digest::from_bytes(bytes);
}

Digest sha256(std::string_view text) {
  Sha256 hash;
  hash.update(text);
  return hash.finish();
}

Digest sha256_file(const std::string& path, const std::function<void(uint64_t)>& progress) {
  const InputFile file(path);
  Sha256 hash;
  uint64_t completed = 0;
  std::vector<std::byte> buffer(kCopyBufferBytes);
  while (const size_t count = file.read_some(completed, buffer)) {
    hash.update(std::span(buffer).first(count));
    completed += count;
    if (progress) progress(completed);
  }
  return hash.finish();
}

}  // namespace sluice::store
