#include "convert/create.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "convert/hf_files.h"
#include "gguf/writer.h"

namespace sluice::convert {
namespace {

using testing::Contains;
using testing::HasSubstr;

void write_model(const std::string& path, float value) {
  gguf::Writer writer;
  writer.set_string("general.architecture", "llama");
  writer.set_string("tokenizer.chat_template", "<|im_start|>");
  const std::vector<float> values(512, value);
  writer.add_tensor("blk.0.ffn_up.weight", quant::Type::kF32, {256, 2},
                    std::as_bytes(std::span(values)));
  writer.save(path);
}

class Create : public testing::Test {
 protected:
  Create() { write_model(path_, 0.5f); }

  store::ModelRecord run(const ModelRecipe& request) {
    statuses_.clear();
    create(
        store_, request, [this](const CreateProgress& line) { statuses_.push_back(line.status); },
        stop_.get_token());
    return store_.get(request.name.full_name());
  }
  ModelRecipe from_file(const std::string& name) {
    ModelRecipe request;
    request.name = store::ModelName::parse(name);
    request.files = {{"model.gguf", path_}};
    return request;
  }
  ModelRecipe from_model(const std::string& name, const std::string& base) {
    ModelRecipe request;
    request.name = store::ModelName::parse(name);
    request.from = store::ModelName::parse(base);
    return request;
  }
  std::string refusal(const ModelRecipe& request) {
    try {
      run(request);
      return "nothing was thrown";
    } catch (const Error& error) {
      return error.what();
    }
  }

  TemporaryFolder folder_;
  std::string path_ = folder_.path + "/model.gguf";
  store::Store store_{folder_.path + "/store"};
  std::stop_source stop_;
  std::vector<std::string> statuses_;
};

TEST_F(Create, PutsAGgufFileAndItsTextsIntoTheStore) {
  ModelRecipe request = from_file("mine:1");
  request.system = "Be brief.";
  request.chat_template = "{{ .Prompt }}";
  request.params_json = R"({"temperature":0.5})";
  request.messages_json = R"([{"role":"user","content":"hi"}])";
  request.licenses = {"free", "open"};
  const store::ModelRecord record = run(request);
  EXPECT_EQ(record.texts.system, "Be brief.");
  EXPECT_EQ(record.texts.chat_template, "{{ .Prompt }}");
  EXPECT_EQ(record.texts.params_json,
            "{\"stop\":[\"\\u003c|im_start|\\u003e\",\"\\u003c|im_end|\\u003e\"],"
            "\"temperature\":0.5}\n");
  EXPECT_EQ(record.texts.messages_json, request.messages_json);
  EXPECT_EQ(record.texts.licenses.size(), 2u);
  EXPECT_EQ(record.config.family, "llama");
  EXPECT_EQ(statuses_.front(), "parsing GGUF");
  EXPECT_EQ(statuses_.back(), "success");
}

TEST_F(Create, JoinsThePartsOfASplitModel) {
  const auto part = [&](int number, int count, int tensors_in_all) {
    const std::string path = folder_.path + "/part" + std::to_string(number);
    gguf::Writer writer;
    writer.set_uint32("split.no", static_cast<uint32_t>(number));
    writer.set_uint32("split.count", static_cast<uint32_t>(count));
    writer.set_int32("split.tensors.count", tensors_in_all);
    if (number == 0) writer.set_string("general.architecture", "llama");
    if (number == 0) writer.set_string("general.name", "x");
    const std::vector<float> values(512, static_cast<float>(number));
    writer.add_tensor("blk." + std::to_string(number) + ".ffn_up.weight", quant::Type::kF32,
                      {256, 2}, std::as_bytes(std::span(values)));
    writer.save(path);
    return path;
  };
  ModelRecipe request = from_file("joined:1");
  // In whatever order their names put them.
  request.files = {{"c.gguf", part(0, 3, 3)}, {"a.gguf", part(1, 3, 3)}, {"b.gguf", part(2, 3, 3)}};
  const store::ModelRecord record = run(request);
  EXPECT_THAT(statuses_, Contains("joining the model's parts"));
  const gguf::File joined = gguf::File::open(record.model_path);
  EXPECT_EQ(joined.find("split.count"), nullptr);
  EXPECT_EQ(joined.get_string("general.name"), "x");
  ASSERT_EQ(joined.tensors().size(), 3u);
  std::array<float, 512> values;
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(joined.tensors()[i].name, "blk." + std::to_string(i) + ".ffn_up.weight");
    joined.tensors()[i].data.read(0, std::as_writable_bytes(std::span(values)));
    EXPECT_EQ(values[511], static_cast<float>(i));
  }

  const auto refused = [&](ModelFiles files) {
    request.files = std::move(files);
    return refusal(request);
  };
  EXPECT_THAT(refused({{"a", part(1, 3, 3)}}), HasSubstr("one of the 3 parts of a model"));
  EXPECT_THAT(refused({{"a", part(0, 3, 3)}, {"b", part(1, 3, 3)}}),
              HasSubstr("a part of 3, but there are 2 files"));
  EXPECT_THAT(refused({{"a", part(0, 2, 2)}, {"b", folder_.path + "/part0"}}),
              HasSubstr("part 1 is there twice"));
  EXPECT_THAT(refused({{"a", part(0, 2, 2)}, {"b", part(7, 2, 2)}}),
              HasSubstr("no number or one that cannot be"));
  EXPECT_THAT(refused({{"a", part(0, 2, 2)}, {"b", part(1, 2, 5)}}),
              HasSubstr("2 tensors together, but one says 5"));
  EXPECT_THAT(refused({{"a", part(0, 70'000, 2)}, {"b", part(1, 2, 2)}}),
              HasSubstr("a part of 70000"));
  EXPECT_THAT(refused({{"a", path_}, {"b", part(1, 2, 2)}}),
              HasSubstr("a part of 1, but there are 2 files"));
  EXPECT_EQ(store_.get("joined:1").model_path, record.model_path);  // what was there stays
}

TEST_F(Create, BuildsOnAModelAndKeepsWhatIsNotGiven) {
  ModelRecipe base = from_file("base:1");
  base.system = "Be brief.";
  base.params_json = R"({"top_k":5,"temperature":1})";
  base.licenses = {"free"};
  run(base);
  ModelRecipe request = from_model("child:1", "base:1");
  request.params_json = R"({"temperature":0.25})";
  request.licenses = {"more"};
  const store::ModelRecord child = run(request);
  EXPECT_EQ(child.texts.system, "Be brief.");
  EXPECT_THAT(child.texts.params_json, HasSubstr("\"temperature\":0.25,\"top_k\":5"));
  EXPECT_EQ(child.texts.licenses, (std::vector<std::string>{"free", "more"}));
  EXPECT_EQ(child.model_path, store_.get("base:1").model_path);
  // Made again without a system message, it has none.
  run(from_file("base:1"));
  EXPECT_EQ(store_.get("base:1").texts.system, "");
  EXPECT_EQ(store_.get("child:1").texts.system, "Be brief.");
}

TEST_F(Create, QuantizesAndSaysSo) {
  ModelRecipe request = from_file("small:1");
  request.quantize = "Q8_0";
  const store::ModelRecord record = run(request);
  EXPECT_EQ(record.config.quantization, "Q8_0");
  const gguf::File file = gguf::File::open(record.model_path);
  EXPECT_EQ(file.find_tensor("blk.0.ffn_up.weight")->type, quant::Type::kQ8_0);
  EXPECT_THAT(statuses_, Contains("quantizing F32 model to Q8_0"));
  ModelRecipe again = from_model("smaller:1", "small:1");
  again.quantize = "q4_0";
  EXPECT_THAT(refusal(again), HasSubstr("quantized already"));
  again.quantize = "q1_x";
  EXPECT_THAT(refusal(again), HasSubstr("unsupported quantization type 'q1_x'"));
}

TEST_F(Create, RefusesWhatItCannotMakeAModelOf) {
  ModelRecipe request = from_file("bad:1");
  request.files.clear();
  EXPECT_THAT(refusal(request), HasSubstr("neither 'from' or 'files'"));
  folder_.write("text.txt", "no model");
  request.files = {{"text.gguf", folder_.path + "/text.txt"}};
  EXPECT_THAT(refusal(request), HasSubstr("not in GGUF format"));
  request.files = {{"a.gguf", path_}, {"b.gguf", path_}};
  EXPECT_THAT(refusal(request), HasSubstr("a part of 1, but there are 2 files"));
  folder_.write("cut.gguf", "GGUF\3");
  request.files = {{"cut.gguf", folder_.path + "/cut.gguf"}};
  EXPECT_NE(refusal(request), "nothing was thrown");
  EXPECT_THAT(refusal(from_model("bad:1", "absent:1")), HasSubstr("not found"));
  EXPECT_TRUE(store_.list().models.empty());
}

TEST_F(Create, LeavesTheOldModelWhenItIsStopped) {
  run(from_file("mine:1"));
  const store::Digest before = store_.get("mine:1").digest;
  write_model(path_, 0.75f);
  stop_.request_stop();
  EXPECT_THAT(refusal(from_file("mine:1")), HasSubstr("cancelled"));
  EXPECT_EQ(store_.get("mine:1").digest, before);
}

}  // namespace
}  // namespace sluice::convert
