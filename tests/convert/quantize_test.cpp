#include "convert/quantize.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <random>

#include "base/error.h"
#include "quant/codec.h"

namespace sluice::convert {
namespace {

using quant::Type;
using testing::HasSubstr;

struct Folder {
  std::string path;
  Folder() {
    std::string name = std::filesystem::temp_directory_path().string() + "/convert_XXXXXX";
    path = ::mkdtemp(name.data());
  }
  ~Folder() { std::filesystem::remove_all(path); }
};

std::vector<float> random_values(unsigned seed, size_t count) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0f, 0.05f);
  std::vector<float> values(count);
  for (float& value : values) value = normal(random);
  return values;
}

void add(gguf::Writer& writer, const std::string& name, const std::vector<int64_t>& shape,
         const std::vector<float>& values, Type type = Type::kF32) {
  const auto count = static_cast<int64_t>(values.size());
  std::vector<std::byte> bytes(quant::size_bytes(type, count));
  quant::quantize(type, values.data(), bytes.data(), count);
  writer.add_tensor(name, type, shape, bytes);
}

gguf::Writer tiny_writer() {
  gguf::Writer writer;
  writer.set_string("general.architecture", "llama");
  writer.set_uint32("llama.block_count", 1);
  writer.set_uint32("general.file_type", 0);
  writer.set_strings("tokenizer.ggml.tokens", {"a", "b"});
  return writer;
}

std::vector<float> values_of(const gguf::File& file, std::string_view name) {
  const gguf::Tensor* tensor = file.find_tensor(name);
  std::vector<float> values(static_cast<size_t>(tensor->num_elements()));
  quant::dequantize(tensor->type, tensor->data.read().data(), values.data(),
                    tensor->num_elements());
  return values;
}

class Quantize : public testing::Test {
 protected:
  // The quantized file at out_path_.
  gguf::File run(const gguf::Writer& writer, std::string_view mix,
                 const QuantizeOptions& options = {}) {
    const std::vector<std::byte> bytes = writer.bytes();
    store::TemporaryFile out(folder_.path);
    quantize(gguf::File::parse(bytes), find_mix(mix), out, options);
    out.commit(out_path_);
    return gguf::File::open(out_path_);
  }
  std::string error_of(const gguf::Writer& writer, std::string_view mix) {
    try {
      run(writer, mix);
      return "nothing was thrown";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
      return error.what();
    }
  }

  Folder folder_;
  std::string out_path_ = folder_.path + "/out.gguf";
};

// Larger than a piece, so that several threads write one tensor, and of a size that is no multiple.
TEST_F(Quantize, WritesWhatTheCodecGivesForEveryMix) {
  const std::vector<float> large = random_values(1, size_t{768} * 1500);
  const std::vector<float> small = random_values(2, size_t{256} * 3);
  gguf::Writer writer = tiny_writer();
  add(writer, "token_embd.weight", {768, 1500}, large);
  add(writer, "blk.0.attn_norm.weight", {768}, small);
  add(writer, "blk.0.ffn_up.weight", {256, 3}, small, Type::kF16);
  for (const Mix& mix : all_mixes()) {
    const gguf::File file = run(writer, mix.name);
    EXPECT_EQ(file.get_uint("general.file_type"), mix.file_type);
    EXPECT_EQ(file.get_uint("general.quantization_version"), 2u);
    EXPECT_EQ(file.get_strings("tokenizer.ggml.tokens")->size(), 2u);
    EXPECT_EQ(file.find_tensor("blk.0.ffn_up.weight")->type, mix.type);
    EXPECT_EQ(values_of(file, "blk.0.attn_norm.weight"), small);

    const Type type = file.find_tensor("token_embd.weight")->type;
    std::vector<std::byte> expected(quant::size_bytes(type, 768 * 1500));
    quant::quantize(type, large.data(), expected.data(), 768 * 1500);
    EXPECT_EQ(file.find_tensor("token_embd.weight")->data.read(), expected) << mix.name;
  }
}

TEST_F(Quantize, GivesTheSameBytesOnAnyNumberOfThreads) {
  gguf::Writer writer = tiny_writer();
  add(writer, "blk.0.ffn_up.weight", {2048, 1100}, random_values(3, size_t{2048} * 1100));
  QuantizeOptions options;
  options.write.num_threads = 1;
  const auto one = run(writer, "q4_K_M", options).find_tensor("blk.0.ffn_up.weight")->data.size();
  const std::string first = read_small_file(out_path_, 1 << 26);
  options.write.num_threads = 5;
  run(writer, "q4_K_M", options);
  EXPECT_EQ(read_small_file(out_path_, 1 << 26), first);
  EXPECT_GT(one, 0u);
}

TEST_F(Quantize, NamesTheTensorWithAValueThatIsNoNumber) {
  for (const auto& [bad, word] :
       {std::pair{NAN, "a NaN (value 300)"}, std::pair{INFINITY, "an infinity (value 300)"},
        std::pair{-INFINITY, "an infinity (value 300)"}}) {
    std::vector<float> values(512, 0.25f);
    values[300] = bad;
    for (const char* name : {"blk.7.ffn_up.weight", "blk.7.ffn_norm.weight"}) {
      gguf::Writer writer = tiny_writer();
      add(writer, name, {256, 2}, values);
      for (const char* mix : {"q4_0", "q4_K_M", "q6_K", "q8_0", "f16", "bf16", "f32"}) {
        const std::string error = error_of(writer, mix);
        EXPECT_THAT(error, HasSubstr(std::string("tensor ") + name + " holds " + word)) << mix;
      }
    }
  }
  EXPECT_FALSE(std::filesystem::exists(out_path_));
}

TEST_F(Quantize, RefusesWhatHalvesCannotHold) {
  std::vector<float> values(512, 1.0f);
  values[3] = 7e4f;
  gguf::Writer writer = tiny_writer();
  add(writer, "blk.0.ffn_up.weight", {256, 2}, values);
  EXPECT_THAT(error_of(writer, "f16"), HasSubstr("a number too large for F16"));
  EXPECT_THAT(error_of(writer, "q4_K_M"), HasSubstr("use bf16 or f32"));
  EXPECT_NO_THROW(run(writer, "bf16"));
}

TEST_F(Quantize, RefusesAQuantizedSourceUnlessAsked) {
  gguf::Writer writer = tiny_writer();
  add(writer, "blk.0.ffn_up.weight", {256, 2}, random_values(4, 512), Type::kQ8_0);
  EXPECT_THAT(error_of(writer, "q4_0"),
              HasSubstr("quantized already (blk.0.ffn_up.weight is Q8_0)"));
  QuantizeOptions options;
  options.allow_requantize = true;
  EXPECT_EQ(run(writer, "q4_0", options).find_tensor("blk.0.ffn_up.weight")->type, Type::kQ4_0);
}

TEST_F(Quantize, TellsProgressAndEndsWhenToldTo) {
  gguf::Writer writer = tiny_writer();
  add(writer, "blk.0.ffn_up.weight", {2048, 2000}, random_values(5, size_t{2048} * 2000));
  QuantizeOptions options;
  WriteProgress last;
  options.write.on_progress = [&last](const WriteProgress& progress) {
    EXPECT_GT(progress.completed_bytes, last.completed_bytes);
    last = progress;
  };
  run(writer, "q8_0", options);
  EXPECT_GT(last.total_bytes, 2048u * 2000);
  EXPECT_LE(last.completed_bytes, last.total_bytes);
  EXPECT_GE(last.completed_bytes + 64, last.total_bytes);  // but for the padding
  options.write.on_progress = [](const WriteProgress&) {
    throw Error(ErrorCode::kCancelled, "enough");
  };
  EXPECT_THROW(run(writer, "q8_0", options), Error);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder_.path), {}), 1);
}

}  // namespace
}  // namespace sluice::convert
