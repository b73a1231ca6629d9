#include "registry/signing_key.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>

#include "base/error.h"
#include "base/input_file.h"
#include "store/files.h"
#include "store/sha256.h"

namespace sluice::registry {
namespace {

constexpr std::string_view kBegin = "-----BEGIN OPENSSH PRIVATE KEY-----";
constexpr std::string_view kEnd = "-----END OPENSSH PRIVATE KEY-----";
constexpr std::string_view kMagic{"openssh-key-v1\0", 15};
constexpr std::string_view kKeyType = "ssh-ed25519";
constexpr size_t kMaxKeyFileBytes = size_t{64} << 10;

struct PkeyCloser {
  void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
};
struct DigestCloser {
  void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
};
using Pkey = std::unique_ptr<EVP_PKEY, PkeyCloser>;

void require(bool is_fine) {
  if (!is_fine) throw Error(ErrorCode::kInternal, "ed25519 is not available in this OpenSSL");
}

[[noreturn]] void fail_format() {
  throw Error(ErrorCode::kCorruptData, "no ed25519 key in OpenSSH's format");
}

// SSH's wire format: numbers of four bytes, high byte first, and strings behind their length.
class WireReader {
 public:
  explicit WireReader(std::string_view bytes) : bytes_(bytes) {}
  std::string_view take(size_t size) {
    if (size > bytes_.size()) fail_format();
    const std::string_view taken = bytes_.substr(0, size);
    bytes_.remove_prefix(size);
    return taken;
  }
  uint32_t take_number() {
    uint32_t number = 0;
    for (const char c : take(4)) number = number << 8 | static_cast<unsigned char>(c);
    return number;
  }
  std::string_view take_string() { return take(take_number()); }

 private:
  std::string_view bytes_;
};

void put_number(std::string& out, uint32_t number) {
  for (int shift = 24; shift >= 0; shift -= 8) out += static_cast<char>(number >> shift);
}
void put_string(std::string& out, std::string_view text) {
  put_number(out, static_cast<uint32_t>(text.size()));
  out += text;
}

std::string_view view_of(std::span<const unsigned char> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::string public_blob(std::string_view public_key) {
  std::string blob;
  put_string(blob, kKeyType);
  put_string(blob, public_key);
  return blob;
}

void write_key_file(const std::string& path, const std::string& text, mode_t mode) {
  const std::string folder = std::filesystem::path(path).parent_path().string();
  store::TemporaryFile file(folder);
  if (::chmod(file.path().c_str(), mode) != 0) throw io_error("cannot write", path, errno);
  file.write(text);
  // Where there is one meanwhile, it stays.
  if (::link(file.path().c_str(), path.c_str()) != 0 && errno != EEXIST) {
    throw io_error("cannot write", path, errno);
  }
}

}  // namespace

std::string base64_encode(std::string_view bytes) {
  std::string text((bytes.size() + 2) / 3 * 4 + 1, '\0');
  const int size = EVP_EncodeBlock(reinterpret_cast<unsigned char*>(text.data()),
                                   reinterpret_cast<const unsigned char*>(bytes.data()),
                                   static_cast<int>(bytes.size()));
  text.resize(static_cast<size_t>(size));
  return text;
}

std::string base64_decode(std::string_view text) {
  std::string packed;
  for (const char c : text) {
    if (c != '\n' && c != '\r' && c != ' ' && c != '\t') packed += c;
  }
  if (packed.empty()) return "";
  std::string bytes(packed.size() / 4 * 3 + 3, '\0');
  const int size = EVP_DecodeBlock(reinterpret_cast<unsigned char*>(bytes.data()),
                                   reinterpret_cast<const unsigned char*>(packed.data()),
                                   static_cast<int>(packed.size()));
  if (size < 0) fail_format();
  const size_t num_padding = packed.ends_with("==") ? 2 : packed.ends_with("=") ? 1 : 0;
  bytes.resize(static_cast<size_t>(size) - num_padding);
  return bytes;
}

SigningKey SigningKey::parse(std::string_view pem_text) {
  const size_t begin = pem_text.find(kBegin);
  const size_t end = pem_text.find(kEnd);
  if (begin == std::string_view::npos || end == std::string_view::npos || end < begin) {
    fail_format();
  }
  const size_t body = begin + kBegin.size();
  const std::string bytes = base64_decode(pem_text.substr(body, end - body));
  WireReader reader(bytes);
  if (reader.take(kMagic.size()) != kMagic) fail_format();
  if (reader.take_string() != "none") {  // the cipher
    throw Error(ErrorCode::kUnsupported, "the key has a passphrase, which is not supported");
  }
  reader.take_string();  // how the passphrase becomes a key, and its parameters
  reader.take_string();
  if (reader.take_number() != 1) fail_format();
  reader.take_string();  // the public key, which comes again
  WireReader secret(reader.take_string());
  if (secret.take_number() != secret.take_number()) fail_format();
  if (secret.take_string() != kKeyType) fail_format();
  const std::string_view public_key = secret.take_string();
  const std::string_view private_key = secret.take_string();  // seed, then the public key
  SigningKey key;
  if (public_key.size() != 32 || private_key.size() != 64) fail_format();
  std::copy_n(private_key.begin(), 32, key.seed_.begin());
  std::copy_n(public_key.begin(), 32, key.public_.begin());
  if (private_key.substr(32) != public_key) fail_format();
  return key;
}

SigningKey SigningKey::generate() {
  SigningKey key;
  require(RAND_bytes(key.seed_.data(), 32) == 1);
  const Pkey pkey(EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, nullptr, key.seed_.data(), 32));
  size_t size = 32;
  require(pkey && EVP_PKEY_get_raw_public_key(pkey.get(), key.public_.data(), &size) == 1);
  return key;
}

std::string SigningKey::public_text() const { return base64_encode(public_blob(view_of(public_))); }

std::string SigningKey::sign(std::string_view message) const {
  const Pkey pkey(EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, nullptr, seed_.data(), 32));
  const std::unique_ptr<EVP_MD_CTX, DigestCloser> context(EVP_MD_CTX_new());
  std::array<unsigned char, 64> signature;
  size_t size = signature.size();
  require(pkey && context &&
          EVP_DigestSignInit(context.get(), nullptr, nullptr, nullptr, pkey.get()) == 1 &&
          EVP_DigestSign(context.get(), signature.data(), &size,
                         reinterpret_cast<const unsigned char*>(message.data()),
                         message.size()) == 1);
  return base64_encode(view_of(signature));
}

std::string SigningKey::pem_text() const {
  std::string secret;
  uint32_t check = 0;
  require(RAND_bytes(reinterpret_cast<unsigned char*>(&check), sizeof check) == 1);
  put_number(secret, check);
  put_number(secret, check);
  put_string(secret, kKeyType);
  put_string(secret, view_of(public_));
  put_string(secret, std::string(view_of(seed_)) + std::string(view_of(public_)));
  put_string(secret, "");  // the comment
  for (char pad = 1; secret.size() % 8 != 0; ++pad) secret += pad;
  std::string bytes(kMagic);
  put_string(bytes, "none");
  put_string(bytes, "none");
  put_string(bytes, "");
  put_number(bytes, 1);
  put_string(bytes, public_blob(view_of(public_)));
  put_string(bytes, secret);
  const std::string text = base64_encode(bytes);
  std::string pem = std::string(kBegin) + "\n";
  for (size_t at = 0; at < text.size(); at += 70) pem += text.substr(at, 70) + "\n";
  return pem + std::string(kEnd) + "\n";
}

SigningKey SigningKey::load_or_create(const std::string& path) {
  const auto read = [&] {
    try {
      return parse(read_small_file(path, kMaxKeyFileBytes));
    } catch (const Error& error) {
      if (error.code() == ErrorCode::kNotFound) throw;
      throw Error(error.code(), "'" + path + "': " + error.what());
    }
  };
  try {
    return read();
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kNotFound) throw;
  }
  const SigningKey key = generate();
  store::make_directories(std::filesystem::path(path).parent_path().string());
  write_key_file(path, key.pem_text(), 0600);
  const SigningKey stored = read();  // ours, or that of who was faster
  write_key_file(path + ".pub", std::string(kKeyType) + " " + stored.public_text() + "\n", 0644);
  return stored;
}

std::string sign_token_request(const SigningKey& key, std::string_view url) {
  const std::string nothing = base64_encode(store::sha256("").hex());
  return key.public_text() + ":" + key.sign("GET," + std::string(url) + "," + nothing);
}

}  // namespace sluice::registry
