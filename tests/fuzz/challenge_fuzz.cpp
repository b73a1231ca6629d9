// What a registry sends in headers and short replies: read or refused with Error, never more.

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/error.h"
#include "registry/challenge.h"
#include "registry/reference.h"
#include "registry/signing_key.h"

template <typename Parse>
void try_to(Parse parse) {
  try {
    parse();
  } catch (const sluice::Error&) {
  }
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace sluice::registry;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (parse_challenge(text).scopes.size() > 16) __builtin_trap();
  if (error_message(text).size() > 4000) __builtin_trap();
  ContentRange range;
  if (parse_content_range(text, range) && range.last >= range.total) __builtin_trap();
  try_to([&] { parse_token(text); });
  try_to([&] { SigningKey::parse(text); });
  try_to([&] {
    const WebUrl url = WebUrl::parse(text);
    if (WebUrl::parse(url.text()).text() != url.text()) __builtin_trap();
    url.resolve(text.substr(size / 2));
  });
  try_to([&] { Reference::parse(text, size % 2 == 0).url("blobs/x"); });
  return 0;
}
