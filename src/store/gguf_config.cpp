#include "store/gguf_config.h"

#include <algorithm>
#include <array>
#include <map>
#include <string_view>

#include "base/error.h"
#include "base/units.h"
#include "quant/types.h"

namespace sluice::store {
namespace {

struct FileType {
  uint64_t number;
  std::string_view name;
};

// general.file_type: the mixture that a quantizer made. Source: llama.h, enum llama_ftype.
constexpr std::array kFileTypes = {
    FileType{0, "F32"},      FileType{1, "F16"},     FileType{2, "Q4_0"},    FileType{3, "Q4_1"},
    FileType{7, "Q8_0"},     FileType{8, "Q5_0"},    FileType{9, "Q5_1"},    FileType{10, "Q2_K"},
    FileType{11, "Q3_K_S"},  FileType{12, "Q3_K_M"}, FileType{13, "Q3_K_L"}, FileType{14, "Q4_K_S"},
    FileType{15, "Q4_K_M"},  FileType{16, "Q5_K_S"}, FileType{17, "Q5_K_M"}, FileType{18, "Q6_K"},
    FileType{19, "IQ2_XXS"}, FileType{20, "IQ2_XS"}, FileType{21, "Q2_K_S"}, FileType{22, "IQ3_XS"},
    FileType{23, "IQ3_XXS"}, FileType{24, "IQ1_S"},  FileType{25, "IQ4_NL"}, FileType{26, "IQ3_S"},
    FileType{27, "IQ3_M"},   FileType{28, "IQ2_S"},  FileType{29, "IQ2_M"},  FileType{30, "IQ4_XS"},
    FileType{31, "IQ1_M"},   FileType{32, "BF16"},   FileType{36, "TQ1_0"},  FileType{37, "TQ2_0"},
    FileType{38, "MXFP4"},
};

// The type that most bytes of the tensors have.
std::string main_tensor_type(const gguf::File& file) {
  std::map<quant::Type, size_t> bytes_by_type;
  for (const gguf::Tensor& tensor : file.tensors())
    bytes_by_type[tensor.type] += tensor.data.size();
  if (bytes_by_type.empty()) return "unknown";
  const auto most = std::max_element(
      bytes_by_type.begin(), bytes_by_type.end(),
      [](const auto& left, const auto& right) { return left.second < right.second; });
  return std::string(quant::type_info(most->first).name);
}

std::string quantization_name(const gguf::File& file) {
  if (const auto number = file.get_uint("general.file_type")) {
    for (const FileType& type : kFileTypes) {
      if (type.number == *number) return std::string(type.name);
    }
  }
  return main_tensor_type(file);
}

struct TurnMarks {
  std::string_view mark;  // in the chat template
  std::string_view params_json;
};

// What Ollama's create writes for the templates of these families.
constexpr std::array kTurnMarks = {
    TurnMarks{"<|im_start|>", R"({"stop":["<|im_start|>","<|im_end|>"]})"},
    TurnMarks{"<|start_header_id|>",
              R"({"stop":["<|start_header_id|>","<|end_header_id|>","<|eot_id|>"]})"},
};

}  // namespace

ModelConfig config_from_gguf(const gguf::File& file) {
  const auto architecture = file.get_string("general.architecture");
  if (!architecture || architecture->empty()) {
    throw Error(ErrorCode::kCorruptData, "the GGUF file does not say its architecture");
  }
  uint64_t num_parameters = 0;
  for (const gguf::Tensor& tensor : file.tensors()) {
    num_parameters += static_cast<uint64_t>(tensor.num_elements());
  }
  ModelConfig config;
  config.format = "gguf";
  config.family = *architecture;
  config.families = {config.family};
  config.parameter_size = format_parameter_count(num_parameters);
  config.quantization = quantization_name(file);
  config.context_length = file.get_uint(config.family + ".context_length").value_or(0);
  config.embedding_length = file.get_uint(config.family + ".embedding_length").value_or(0);
  return config;
}

std::string params_from_gguf(const gguf::File& file) {
  const std::string_view source = file.get_string("tokenizer.chat_template").value_or("");
  for (const TurnMarks& family : kTurnMarks) {
    if (source.find(family.mark) != std::string_view::npos) return std::string(family.params_json);
  }
  return "";
}

}  // namespace sluice::store
