// Files that break the format, each in one way.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <random>
#include <string>

#include "base/error.h"
#include "gguf/file.h"
#include "gguf/raw_file.h"
#include "gguf/writer.h"
#include "quant/codec.h"

namespace sluice::gguf {
namespace {

using testing::HasSubstr;

constexpr uint64_t kHuge = std::numeric_limits<uint64_t>::max();
constexpr uint32_t kF32 = 0;
constexpr uint32_t kQ4_0 = 2;

struct BadFile {
  const char* name;
  RawFile file;
  ErrorCode code;
  const char* message;  // a part of it
};

RawFile entry_of_type(uint32_t raw_type) {
  return RawFile().header(0, 1).text("key").u32(raw_type);
}

RawFile array_of(uint32_t element_type, uint64_t count) {
  return entry_of_type(9).u32(element_type).u64(count);
}

RawFile one_tensor(const std::vector<uint64_t>& shape, uint32_t raw_type, uint64_t offset = 0) {
  return RawFile().header(1, 0).tensor("weight", shape, raw_type, offset).data(4096);
}

RawFile aligned_to(uint32_t alignment) {
  return RawFile().header(0, 1).uint32_entry("general.alignment", alignment);
}

RawFile nested_arrays(int depth) {
  RawFile file = entry_of_type(9);
  for (int i = 0; i < depth; ++i) file.u32(9).u64(1);
  return file.u32(0).u64(1).u8(0);
}

std::vector<BadFile> bad_headers() {
  const auto corrupt = ErrorCode::kCorruptData;
  const auto unsupported = ErrorCode::kUnsupported;
  return {
      {"Empty", RawFile(), corrupt, "magic"},
      {"OneByte", RawFile().u8('G'), corrupt, "magic"},
      {"MagicOnly", RawFile().u32(0x46554747), corrupt, "version"},
      {"OtherMagic", RawFile().u32(0x67676d6c).data(64), corrupt, "not a GGUF file"},
      {"Html", RawFile().text("<html>").data(64), corrupt, "not a GGUF file"},
      {"Version0", RawFile().header(0, 0, 0), corrupt, "version 0"},
      {"Version1", RawFile().header(0, 0, 1), unsupported, "version 1"},
      {"Version4", RawFile().header(0, 0, 4), unsupported, "version 4"},
      {"BigEndian", RawFile().header(0, 0, 0x03000000), unsupported, "big-endian"},
      {"HugeTensorCount", RawFile().header(kHuge, 0), corrupt, "tensors"},
      {"HugeEntryCount", RawFile().header(0, kHuge), corrupt, "metadata entries"},
      {"CountsWhoseSizesOverflow", RawFile().header(kHuge / 33 + 1, kHuge / 14 + 1).data(512),
       corrupt, "metadata entries"},
      {"MoreEntriesThanBytes", RawFile().header(0, 1000).data(1024), corrupt, "metadata entries"},
      {"MoreTensorsThanBytes", RawFile().header(1000, 0).data(1024), corrupt, "tensors"},
  };
}

std::vector<BadFile> bad_metadata() {
  const auto corrupt = ErrorCode::kCorruptData;
  return {
      {"EmptyKey", RawFile().header(0, 1).uint32_entry("", 1), corrupt, "key of metadata entry 0"},
      {"HugeKey", RawFile().header(0, 1).u64(kHuge).data(64), corrupt, "key of metadata entry 0"},
      {"LongKey", RawFile().header(0, 1).uint32_entry(std::string(65536, 'k'), 1), corrupt,
       "65536 bytes"},
      {"KeyTwice", RawFile().header(0, 2).uint32_entry("a.b", 1).uint32_entry("a.b", 2), corrupt,
       "'a.b' appears twice"},
      {"UnknownValueType", entry_of_type(13).data(64), corrupt, "unknown type 13"},
      {"NegativeValueType", entry_of_type(0xffffffff).data(64), corrupt, "unknown type"},
      {"StringBeyondEnd", entry_of_type(8).u64(100).data(8), corrupt, "value of 'key'"},
      {"HugeString", entry_of_type(8).u64(kHuge).data(8), corrupt, "value of 'key'"},
      {"BoolOfTwo", entry_of_type(7).u8(2), corrupt, "bool of value 2"},
      {"BoolArrayOfTwo", array_of(7, 3).u8(0).u8(1).u8(2), corrupt, "neither 0 nor 1"},
      {"ArrayOfArrays", array_of(9, 1).u32(0).u64(1).u8(0), corrupt, "array of arrays"},
      {"DeeplyNestedArrays", nested_arrays(10000), corrupt, "array of arrays"},
      {"ArrayOfUnknownType", array_of(77, 1).data(64), corrupt, "unknown element type 77"},
      {"HugeArray", array_of(4, kHuge).data(64), corrupt, "more than the file can hold"},
      {"ArrayWhoseSizeOverflows", array_of(10, kHuge / 8 + 2).data(64), corrupt,
       "more than the file can hold"},
      {"ManyEmptyStrings", array_of(8, uint64_t{1} << 32).data(1024), corrupt,
       "more than the file can hold"},
      {"StringOfArrayBeyondEnd", array_of(8, 2).text("ok").u64(99).data(64), corrupt, "'key'"},
      {"Alignment0", aligned_to(0), corrupt, "general.alignment"},
      {"Alignment1", aligned_to(1), corrupt, "general.alignment"},
      {"Alignment24", aligned_to(24), corrupt, "general.alignment"},
      {"HugeAlignment", aligned_to(1u << 31), corrupt, "general.alignment"},
      {"AlignmentAsText",
       RawFile().header(0, 1).text("general.alignment").type(ValueType::kString).text("32"),
       corrupt, "general.alignment"},
  };
}

std::vector<BadFile> bad_tensors() {
  const auto corrupt = ErrorCode::kCorruptData;
  const auto unsupported = ErrorCode::kUnsupported;
  const uint64_t big = uint64_t{1} << 32;
  return {
      {"EmptyTensorName", RawFile().header(1, 0).tensor("", {1}, kF32, 0).data(64), corrupt,
       "name of tensor 0"},
      {"TensorTwice",
       RawFile().header(2, 0).tensor("w", {1}, kF32, 0).tensor("w", {1}, kF32, 32).data(64),
       corrupt, "'w' appears twice"},
      {"NoDimensions", one_tensor({}, kF32), corrupt, "0 dimensions"},
      {"FiveDimensions", one_tensor({1, 1, 1, 1, 1}, kF32), corrupt, "5 dimensions"},
      {"ZeroSize", one_tensor({4, 0}, kF32), corrupt, "shape [4, 0]"},
      {"NegativeSize", one_tensor({kHuge}, kF32), corrupt, "shape [-1]"},
      {"ProductOverflows", one_tensor({big, big}, kF32), corrupt, "impossible shape"},
      {"BytesOverflow", one_tensor({big, big / 4}, kF32), corrupt, "impossible shape"},
      {"PartOfABlock", one_tensor({33}, kQ4_0), corrupt, "blocks of 32"},
      {"UnknownType", one_tensor({32}, 1000), unsupported, "'weight' has unknown type 1000"},
      {"NegativeType", one_tensor({32}, 0xffffffff), unsupported, "unknown type"},
      {"UndecodableType", one_tensor({256}, 16), unsupported, "'weight' has type IQ2_XXS"},
      {"RemovedType", one_tensor({256}, 31), unsupported, "'weight' has type Q4_0_4_4"},
      {"OffsetNotAligned", one_tensor({4}, kF32, 8), corrupt, "not a multiple of 32"},
      {"OffsetBeyondEnd", one_tensor({4}, kF32, 1 << 20), corrupt, "passes the end"},
      {"HugeOffset", one_tensor({4}, kF32, kHuge - 31), corrupt, "passes the end"},
      {"DataBeyondEnd", one_tensor({4096}, kF32), corrupt, "passes the end"},
      {"NoDataAtAll", RawFile().header(1, 0).tensor("weight", {4}, kF32, 0), corrupt,
       "passes the end"},
      {"OverlappingTensors",
       RawFile().header(2, 0).tensor("a", {16}, kF32, 0).tensor("b", {16}, kF32, 32).data(256),
       corrupt, "'a' and 'b' overlap"},
      {"SamePlaceTwice",
       RawFile().header(2, 0).tensor("a", {1}, kF32, 0).tensor("b", {1}, kF32, 0).data(256),
       corrupt, "overlap"},
  };
}

class BadFileTest : public testing::TestWithParam<BadFile> {};

TEST_P(BadFileTest, IsRefusedWithItsReason) {
  try {
    File::parse(GetParam().file.bytes());
    FAIL() << "the file was accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), GetParam().code) << error.what();
    EXPECT_THAT(error.what(), HasSubstr(GetParam().message));
    EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos);
  }
}

std::string name_of(const testing::TestParamInfo<BadFile>& info) { return info.param.name; }

INSTANTIATE_TEST_SUITE_P(Header, BadFileTest, testing::ValuesIn(bad_headers()), name_of);
INSTANTIATE_TEST_SUITE_P(Metadata, BadFileTest, testing::ValuesIn(bad_metadata()), name_of);
INSTANTIATE_TEST_SUITE_P(Tensors, BadFileTest, testing::ValuesIn(bad_tensors()), name_of);

std::vector<std::byte> small_file() {
  Writer writer;
  writer.set_string("general.architecture", "llama");
  writer.set_bool("flag", true);
  writer.set_strings("tokenizer.ggml.tokens", {"a", "", "<s>"});
  writer.set_int32s("tokenizer.ggml.token_type", {1, 1, 3});
  writer.set_float32s("scores", {0.5f, -1.0f});
  writer.add_tensor("a.weight", quant::Type::kQ4_0, {32, 2}, std::vector<std::byte>(36));
  writer.add_tensor("a.bias", quant::Type::kF32, {8}, std::vector<std::byte>(32));
  return writer.bytes();
}

// Reads all that a file offers; what the values are does not matter here.
void walk(const File& file) {
  for (const auto& [key, value] : file.metadata()) {
    if (!std::holds_alternative<Array>(value)) continue;
    const bool is_text = std::get<Array>(value).element_type == ValueType::kString;
    if (is_text) {
      file.get_strings(key);
    } else {
      file.get_floats(key);
    }
  }
  for (const Tensor& tensor : file.tensors()) {
    std::vector<float> row(static_cast<size_t>(tensor.columns()));
    std::vector<std::byte> bytes(quant::size_bytes(tensor.type, tensor.columns()));
    tensor.data.read(0, bytes);
    quant::dequantize(tensor.type, bytes.data(), row.data(), tensor.columns());
  }
}

TEST(TruncatedFile, IsRefusedAtEveryByte) {
  const std::vector<std::byte> good = small_file();
  ASSERT_NO_THROW(walk(File::parse(good)));
  for (size_t size = 0; size < good.size(); ++size) {
    // Memory of exactly this size, so that AddressSanitizer sees a read beyond it.
    const std::vector<std::byte> truncated(good.begin(),
                                           good.begin() + static_cast<ptrdiff_t>(size));
    try {
      File::parse(truncated);
      FAIL() << "accepted " << size << " of " << good.size() << " bytes";
    } catch (const Error& error) {
      ASSERT_EQ(error.code(), ErrorCode::kCorruptData) << size << ": " << error.what();
    }
  }
}

TEST(FlippedBit, IsRefusedOrHarmless) {
  const std::vector<std::byte> good = small_file();
  int num_refused = 0;
  for (size_t bit = 0; bit < good.size() * 8; ++bit) {
    std::vector<std::byte> flipped = good;
    flipped[bit / 8] ^= std::byte{1} << (bit % 8);
    try {
      walk(File::parse(flipped));
    } catch (const Error&) {
      ++num_refused;
    }
  }
  EXPECT_GT(num_refused, 500);
}

TEST(RandomDamage, IsRefusedOrHarmless) {
  constexpr unsigned kSeed = 11;
  SCOPED_TRACE("seed " + std::to_string(kSeed));
  std::mt19937 random(kSeed);
  const std::vector<std::byte> good = small_file();
  for (int round = 0; round < 5000; ++round) {
    std::vector<std::byte> damaged = good;
    for (unsigned i = 0; i <= random() % 4; ++i) {
      damaged[random() % damaged.size()] = static_cast<std::byte>(random());
    }
    try {
      walk(File::parse(damaged));
    } catch (const Error&) {
    }
  }
}

TEST(HostileName, IsPrintedOnOneSafeLine) {
  const std::string name = "a\n\x1b[31m\xff" + std::string(200, 'x');
  try {
    File::parse(RawFile().header(1, 0).tensor(name, {256}, 16, 0).data(64).bytes());
    FAIL() << "the file was accepted";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("'a\\x0a\\x1b[31m\\xffxxx"));
    EXPECT_LT(std::string(error.what()).size(), 300u);
  }
}

}  // namespace
}  // namespace sluice::gguf
