#include "convert/quantize.h"

#include <memory>
#include <string>

#include "base/error.h"
#include "base/print.h"
#include "quant/codec.h"

namespace sluice::convert {
namespace {

constexpr uint32_t kQuantizationVersion = 2;  // of the layouts of the blocks; ggml.h

bool is_quantized(quant::Type type) { return quant::type_info(type).block_elements > 1; }

void refuse_quantized(const gguf::File& source, const std::vector<quant::Type>& targets) {
  for (size_t i = 0; i < targets.size(); ++i) {
    const gguf::Tensor& tensor = source.tensors()[i];
    if (tensor.type == targets[i] || !is_quantized(tensor.type)) continue;
    throw Error(ErrorCode::kInvalidArgument, "the model is quantized already (" +
                                                 printable(tensor.name) + " is " +
                                                 std::string(quant::type_info(tensor.type).name) +
                                                 "); quantize the original in f32, f16 or bf16");
  }
}

gguf::Writer copy_metadata(const gguf::File& source, const Mix& mix) {
  gguf::Writer head;
  for (const auto& [key, value] : source.metadata()) {
    if (key == "general.file_type" || key == "general.quantization_version") continue;
    head.copy(std::string(key), value);
  }
  head.set_uint32("general.file_type", mix.file_type);
  head.set_uint32("general.quantization_version", kQuantizationVersion);
  return head;
}

void read_values(const gguf::Tensor& tensor, int64_t first, std::span<float> values) {
  if (tensor.type == quant::Type::kF32) {
    tensor.data.read(quant::size_bytes(tensor.type, first), std::as_writable_bytes(values));
    return;
  }
  const auto count = static_cast<int64_t>(values.size());
  std::vector<std::byte> bytes(quant::size_bytes(tensor.type, count));
  tensor.data.read(quant::size_bytes(tensor.type, first), bytes);
  quant::dequantize(tensor.type, bytes.data(), values.data(), count);
}

}  // namespace

void quantize(const gguf::File& source, const Mix& mix, store::TemporaryFile& out,
              const QuantizeOptions& options) {
  std::vector<TensorFacts> facts;
  for (const gguf::Tensor& tensor : source.tensors()) {
    facts.push_back({std::string(tensor.name), tensor.shape, tensor.type});
  }
  const std::vector<quant::Type> types = choose_types(mix, model_facts(source), facts);
  if (!options.allow_requantize) refuse_quantized(source, types);

  std::vector<PlannedTensor> plan;
  for (size_t i = 0; i < types.size(); ++i) {
    const gguf::Tensor& tensor = source.tensors()[i];
    PlannedTensor planned = {facts[i].name, types[i], tensor.shape, {}, {}};
    // What is not quantized is looked at all the same: a NaN must not pass.
    if (tensor.type == types[i] && is_quantized(tensor.type)) {
      planned.bytes = tensor.data;
    } else {
      planned.read = [&tensor](int64_t first, std::span<float> values) {
        read_values(tensor, first, values);
      };
    }
    plan.push_back(std::move(planned));
  }
  write_tensors(copy_metadata(source, mix), plan, out, options.write);
  source.check_unchanged();
}

}  // namespace sluice::convert
