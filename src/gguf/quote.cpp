#include "gguf/quote.h"

namespace sluice::gguf {

std::string quote(std::string_view name) {
  constexpr size_t kMaxShown = 64;
  constexpr char kDigits[] = "0123456789abcdef";
  std::string text = "'";
  for (const char character : name.substr(0, kMaxShown)) {
    const auto byte = static_cast<unsigned char>(character);
    if (byte >= 0x20 && byte < 0x7f) {
      text += character;
    } else {
      text += {'\\', 'x', kDigits[byte >> 4], kDigits[byte & 15]};
    }
  }
  if (name.size() > kMaxShown) text += "...";
  return text + "'";
}

}  // namespace sluice::gguf
