// Model files from outside: a safetensors header, an index, a SentencePiece model, a
// tokenizer.json.
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "base/error.h"
#include "convert/hf_vocabulary.h"
#include "convert/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace sluice::convert;
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  try {
    switch (data[0] % 4) {
      case 0: {
        const auto file = SafetensorsFile::parse(std::as_bytes(std::span(text)));
        for (const SafeTensor& tensor : file.tensors()) tensor.data.read();
        break;
      }
      case 1:
        parse_index(text);
        break;
      case 2:
        parse_sentencepiece(text);
        break;
      default:
        parse_tokenizer_json(text);
    }
  } catch (const sluice::Error&) {
  }
  return 0;
}
