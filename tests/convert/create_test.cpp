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

  store::ModelRecord run(const CreateRequest& request) {
    statuses_.clear();
    create(
        store_, request, [this](const CreateProgress& line) { statuses_.push_back(line.status); },
        stop_.get_token());
    return store_.get(request.name.full_name());
  }
  CreateRequest from_file(const std::string& name) {
    CreateRequest request;
    request.name = store::ModelName::parse(name);
    request.files = {{"model.gguf", path_}};
    return request;
  }
  CreateRequest from_model(const std::string& name, const std::string& base) {
    CreateRequest request;
    request.name = store::ModelName::parse(name);
    request.from = store::ModelName::parse(base);
    return request;
  }
  std::string refusal(const CreateRequest& request) {
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
  CreateRequest request = from_file("mine:1");
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

TEST_F(Create, BuildsOnAModelAndKeepsWhatIsNotGiven) {
  CreateRequest base = from_file("base:1");
  base.system = "Be brief.";
  base.params_json = R"({"top_k":5,"temperature":1})";
  base.licenses = {"free"};
  run(base);
  CreateRequest request = from_model("child:1", "base:1");
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
  CreateRequest request = from_file("small:1");
  request.quantize = "Q8_0";
  const store::ModelRecord record = run(request);
  EXPECT_EQ(record.config.quantization, "Q8_0");
  const gguf::File file = gguf::File::open(record.model_path);
  EXPECT_EQ(file.find_tensor("blk.0.ffn_up.weight")->type, quant::Type::kQ8_0);
  EXPECT_THAT(statuses_, Contains("quantizing F32 model to Q8_0"));
  CreateRequest again = from_model("smaller:1", "small:1");
  again.quantize = "q4_0";
  EXPECT_THAT(refusal(again), HasSubstr("quantized already"));
  again.quantize = "q1_x";
  EXPECT_THAT(refusal(again), HasSubstr("unsupported quantization type 'q1_x'"));
}

TEST_F(Create, RefusesWhatItCannotMakeAModelOf) {
  CreateRequest request = from_file("bad:1");
  request.files.clear();
  EXPECT_THAT(refusal(request), HasSubstr("neither 'from' or 'files'"));
  folder_.write("text.txt", "no model");
  request.files = {{"text.gguf", folder_.path + "/text.txt"}};
  EXPECT_THAT(refusal(request), HasSubstr("not in GGUF format"));
  request.files = {{"a.gguf", path_}, {"b.gguf", path_}};
  EXPECT_THAT(refusal(request), HasSubstr("several GGUF files"));
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
