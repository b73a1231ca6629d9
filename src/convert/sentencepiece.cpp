// SentencePiece's ModelProto (sentencepiece_model.proto), as far as a vocabulary needs it.
#include <cstring>
#include <optional>

#include "base/error.h"
#include "convert/hf_vocabulary.h"

namespace sluice::convert {
namespace {

[[noreturn]] void refuse(const std::string& reason) {
  throw Error(ErrorCode::kCorruptData, "tokenizer.model: " + reason);
}

// Walks the fields of a protobuf message.
class Message {
 public:
  explicit Message(std::string_view bytes) : rest_(bytes) {}

  struct Field {
    uint64_t number = 0;
    uint64_t value = 0;      // of a varint or fixed number
    std::string_view bytes;  // of a string or message
  };

  std::optional<Field> next() {
    if (rest_.empty()) return std::nullopt;
    const uint64_t tag = read_varint();
    Field field;
    field.number = tag >> 3;
    switch (tag & 7) {
      case 0:
        field.value = read_varint();
        break;
      case 1:
        field.value = read_fixed(8);
        break;
      case 2:
        field.bytes = take(read_varint());
        break;
      case 5:
        field.value = read_fixed(4);
        break;
      default:
        refuse("a field of an unknown kind; it is no SentencePiece model");
    }
    return field;
  }

 private:
  std::string_view take(uint64_t count) {
    if (count > rest_.size()) refuse("it ends in the middle of a field");
    const std::string_view taken = rest_.substr(0, count);
    rest_.remove_prefix(count);
    return taken;
  }
  uint64_t read_fixed(size_t size) {
    uint64_t value = 0;
    std::memcpy(&value, take(size).data(), size);
    return value;
  }
  uint64_t read_varint() {
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      const auto byte = static_cast<unsigned char>(take(1)[0]);
      value |= uint64_t{byte & 127u} << shift;
      if (byte < 128) return value;
    }
    refuse("a number of more than 64 bits");
  }

  std::string_view rest_;
};

void read_piece(std::string_view bytes, HfVocabulary& vocabulary) {
  Message message(bytes);
  std::string text;
  float score = 0.0f;
  uint64_t type = 1;
  while (const auto field = message.next()) {
    if (field->number == 1) text = field->bytes;
    if (field->number == 2) {
      const auto bits = static_cast<uint32_t>(field->value);
      std::memcpy(&score, &bits, sizeof(score));
    }
    if (field->number == 3) type = field->value;
  }
  // The numbers of the types are those of GGUF.
  if (type < 1 || type > 6) refuse("a piece of the unknown type " + std::to_string(type));
  vocabulary.tokens.push_back(std::move(text));
  vocabulary.scores.push_back(score);
  vocabulary.types.push_back(static_cast<int32_t>(type));
}

}  // namespace

HfVocabulary parse_sentencepiece(std::string_view protobuf) {
  constexpr uint64_t kPieces = 1, kTrainer = 2, kNormalizer = 3;
  constexpr uint64_t kModelType = 3, kAddsDummyPrefix = 3;
  constexpr uint64_t kBpe = 2;
  HfVocabulary vocabulary;
  vocabulary.model = "llama";
  vocabulary.adds_space_prefix = true;
  uint64_t model_type = 1;
  Message message(protobuf);
  while (const auto field = message.next()) {
    if (field->number == kPieces) {
      if (vocabulary.tokens.size() >= (size_t{1} << 24)) refuse("more than 16 million pieces");
      read_piece(field->bytes, vocabulary);
    } else if (field->number == kTrainer) {
      Message trainer(field->bytes);
      while (const auto entry = trainer.next()) {
        if (entry->number == kModelType) model_type = entry->value;
      }
    } else if (field->number == kNormalizer) {
      Message normalizer(field->bytes);
      while (const auto entry = normalizer.next()) {
        if (entry->number == kAddsDummyPrefix) vocabulary.adds_space_prefix = entry->value != 0;
      }
    }
  }
  if (vocabulary.tokens.empty()) refuse("it holds no pieces");
  if (model_type != kBpe) {
    throw Error(ErrorCode::kUnsupported, "tokenizer.model is no BPE model (type " +
                                             std::to_string(model_type) +
                                             "); only BPE is supported");
  }
  return vocabulary;
}

}  // namespace sluice::convert
