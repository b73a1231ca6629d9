#include "convert/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>

#include "base/error.h"
#include "convert/hf_files.h"

namespace sluice::convert {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::string refusal_of(const std::string& header, size_t data_bytes = 16) {
  const std::string file = safetensors_bytes(header, std::string(data_bytes, 'x'));
  try {
    SafetensorsFile::parse(std::as_bytes(std::span(file)));
    return "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kCorruptData);
    return error.what();
  }
}

TEST(Safetensors, ReadsTensorsWithTheirShapesAndBytes) {
  const std::string bytes = safetensors_bytes(
      R"({"__metadata__":{"format":"pt"},"b":{"dtype":"F16","shape":[2,2],"data_offsets":[4,12]},)"
      R"("a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"empty":{"dtype":"I64","shape":[0],)"
      R"("data_offsets":[12,12]}} )",
      "abcdefghijkl");
  const auto file = SafetensorsFile::parse(std::as_bytes(std::span(bytes)));
  ASSERT_EQ(file.tensors().size(), 3u);
  const SafeTensor& b = file.tensors()[1];
  EXPECT_EQ(b.name, "b");
  EXPECT_EQ(b.dtype, "F16");
  EXPECT_THAT(b.shape, ElementsAre(2, 2));
  EXPECT_EQ(std::memcmp(b.data.read().data(), "efghijkl", 8), 0);
}

TEST(Safetensors, RefusesHeadersThatLie) {
  EXPECT_THAT(refusal_of("{"), HasSubstr("no JSON"));
  EXPECT_THAT(refusal_of("[]"), HasSubstr("no JSON object"));
  EXPECT_THAT(refusal_of(R"({"a":1})"), HasSubstr("no description"));
  EXPECT_THAT(refusal_of(R"({"a":{"dtype":"X9","shape":[1],"data_offsets":[0,4]}})"),
              HasSubstr("'X9' is none"));
  EXPECT_THAT(refusal_of(R"({"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}})"),
              HasSubstr("whole numbers"));
  EXPECT_THAT(refusal_of(R"({"a":{"dtype":"F32","shape":[1,1.5],"data_offsets":[0,4]}})"),
              HasSubstr("whole numbers"));
  EXPECT_THAT(refusal_of(R"({"a":{"dtype":"F32","shape":[3],"data_offsets":[0,4]}})"),
              HasSubstr("its type and shape make 12"));
  EXPECT_THAT(refusal_of(R"({"a":{"dtype":"F32","shape":[5],"data_offsets":[0,20]}})"),
              HasSubstr("cut short"));
  EXPECT_THAT(refusal_of(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[8,4]}})"),
              HasSubstr("bytes 8 to 4"));
  EXPECT_THAT(refusal_of(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,-4]}})"),
              HasSubstr("two whole numbers"));
  EXPECT_THAT(refusal_of(R"({"a":{"dtype":"F64","shape":[281474976710656,281474976710656],)"
                         R"("data_offsets":[0,0]}})"),
              HasSubstr("more bytes than there can be"));
  EXPECT_THAT(
      refusal_of(R"({"a":{"dtype":"F32","shape":[1,1,1,1,1,1,1,1,1],"data_offsets":[0,4]}})"),
      HasSubstr("dimensions"));
}

TEST(Safetensors, RefusesOverlapsAndNamesGivenTwice) {
  EXPECT_THAT(refusal_of(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
                         R"("b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}})"),
              HasSubstr("'a' and 'b' overlap"));
  EXPECT_THAT(refusal_of(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},)"
                         R"("a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})"),
              HasSubstr("the key 'a' twice"));
}

TEST(Safetensors, RefusesWhatIsTooShortTooLongOrTooDeep) {
  for (const uint64_t claimed : {uint64_t{9}, uint64_t{1} << 40, ~uint64_t{0}}) {
    std::string file(16, '{');
    std::memcpy(file.data(), &claimed, sizeof(claimed));
    EXPECT_THROW(SafetensorsFile::parse(std::as_bytes(std::span(file))), Error) << claimed;
  }
  EXPECT_THROW(SafetensorsFile::parse({}), Error);
  const std::string deep = R"({"a":)" + std::string(100'000, '[') + std::string(100'000, ']') + "}";
  EXPECT_THAT(refusal_of(deep), HasSubstr("nested deeper"));
}

TEST(SafetensorsIndex, NamesEachPartOnce) {
  EXPECT_THAT(parse_index(R"({"weight_map":{"x":"m-1.safetensors","y":"m-2.safetensors",)"
                          R"("z":"m-1.safetensors"}})"),
              ElementsAre("m-1.safetensors", "m-2.safetensors"));
}

TEST(SafetensorsIndex, RefusesPathsThatLeadElsewhere) {
  for (const char* name :
       {"../x.safetensors", "/etc/x.safetensors", "a/b.safetensors", "..\\\\x.safetensors",
        "/etc/passwd", ".safetensors", ".x.safetensors", "x\\u0000.safetensors", ""}) {
    const std::string index = std::string(R"({"weight_map":{"x":")") + name + R"("}})";
    EXPECT_THROW(parse_index(index), Error) << name;
  }
  EXPECT_THROW(parse_index(R"({"weight_map":{"x":7}})"), Error);
  EXPECT_THROW(parse_index(R"({"weight_map":[]})"), Error);
  EXPECT_THROW(parse_index("{}"), Error);
}

TEST(SafetensorsModel, SaysWhichPartIsMissing) {
  const TemporaryFolder folder;
  folder.write("model.safetensors.index.json", R"({"weight_map":{"x":"part-1.safetensors"}})");
  try {
    SafetensorsModel model(list_model_files(folder.path));
    FAIL() << "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kNotFound);
    EXPECT_THAT(error.what(), HasSubstr("'part-1.safetensors' is missing"));
  }
  EXPECT_THROW(SafetensorsModel({}), Error);
}

}  // namespace
}  // namespace sluice::convert
