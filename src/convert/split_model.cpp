#include "convert/split_model.h"

#include <utility>

#include "base/error.h"
#include "gguf/parts.h"

namespace sluice::convert {
namespace {

[[noreturn]] void refuse_parts(const std::string& why) {
  throw Error(ErrorCode::kInvalidArgument, why + "; give all parts of the model, and nothing else");
}

// In their order.
std::vector<gguf::File> open_parts(const std::vector<std::string>& paths) {
  std::vector<gguf::File> files(paths.size());
  std::vector<bool> is_there(paths.size());
  for (const std::string& path : paths) {
    gguf::File file = gguf::File::open(path);
    if (std::cmp_not_equal(gguf::num_parts(file), paths.size())) {
      refuse_parts("one of the files is a part of " + std::to_string(gguf::num_parts(file)) +
                   ", but there are " + std::to_string(paths.size()) + " files");
    }
    const uint64_t number = file.get_uint(gguf::kPartNumber).value_or(files.size());
    if (number >= files.size()) refuse_parts("a part has no number or one that cannot be");
    if (is_there[number]) refuse_parts("part " + std::to_string(number + 1) + " is there twice");
    is_there[number] = true;
    files[number] = std::move(file);
  }
  return files;
}

void check_tensor_count(const std::vector<gguf::File>& files) {
  uint64_t count = 0;
  for (const gguf::File& file : files) count += file.tensors().size();
  for (const gguf::File& file : files) {
    if (file.get_uint(gguf::kPartTensors).value_or(count) != count) {
      refuse_parts("the parts have " + std::to_string(count) + " tensors together, but one says " +
                   std::to_string(*file.get_uint(gguf::kPartTensors)));
    }
  }
}

}  // namespace

void join_parts(const std::vector<std::string>& paths, store::TemporaryFile& out,
                const WriteOptions& options) {
  const std::vector<gguf::File> files = open_parts(paths);
  check_tensor_count(files);
  gguf::Writer head;
  for (const auto& [key, value] : files.front().metadata()) {
    if (!key.starts_with("split.")) head.copy(std::string(key), value);
  }
  std::vector<PlannedTensor> plan;
  for (const gguf::File& file : files) {
    for (const gguf::Tensor& tensor : file.tensors()) {
      PlannedTensor& planned = plan.emplace_back();
      planned.name = tensor.name;
      planned.type = tensor.type;
      planned.shape = tensor.shape;
      planned.bytes = tensor.data;
    }
  }
  write_tensors(std::move(head), plan, out, options);
  for (const gguf::File& file : files) file.check_unchanged();
}

}  // namespace sluice::convert
