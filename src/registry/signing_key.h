#pragma once

#include <array>
#include <cstddef>
#include <string>
#include <string_view>

namespace sluice::registry {

// The key that a machine is known by to Ollama's registry: ed25519, in OpenSSH's format, the same
// file that Ollama uses (~/.ollama/id_ed25519 and .pub).
class SigningKey {
 public:
  // Reads it, or makes it when there is none. Throws Error: kCorruptData for a file that is no such
  // key, kUnsupported for one with a passphrase, kIo, kNoSpace.
  static SigningKey load_or_create(const std::string& path);
  // Of a file's text.
  static SigningKey parse(std::string_view pem_text);
  static SigningKey generate();

  // "AAAAC3Nz...": what stands behind "ssh-ed25519" in the file of the public key.
  std::string public_text() const;
  // Base64 of the 64 bytes of the signature.
  std::string sign(std::string_view message) const;
  // As a file of OpenSSH holds it.
  std::string pem_text() const;

 private:
  std::array<unsigned char, 32> seed_{};
  std::array<unsigned char, 32> public_{};
};

std::string base64_encode(std::string_view bytes);
// Nothing but the alphabet, its padding and white space. Throws Error(kCorruptData).
std::string base64_decode(std::string_view text);

// The Authorization header that Ollama's registry wants from a client that asks for a token with
// GET at `url`: "<public key>:<signature>".
std::string sign_token_request(const SigningKey& key, std::string_view url);

}  // namespace sluice::registry
