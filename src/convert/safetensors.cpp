#include "convert/safetensors.h"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <set>

#include "base/error.h"
#include "base/print.h"
#include "base/units.h"
#include "convert/json_file.h"

namespace sluice::convert {
namespace {

constexpr size_t kMaxIndexBytes = size_t{64} << 20;
constexpr const char* kSingleFile = "model.safetensors";
constexpr const char* kIndexFile = "model.safetensors.index.json";

std::string in_quotes(std::string_view text) { return "'" + printable(text.substr(0, 200)) + "'"; }

// Bits of one element; 0 for a type that the format does not know.
uint64_t bits_of(std::string_view dtype) {
  static const std::map<std::string_view, uint64_t> kBits = {
      {"BOOL", 8}, {"U8", 8},   {"I8", 8},   {"F8_E5M2", 8}, {"F8_E4M3", 8}, {"F8_E8M0", 8},
      {"I16", 16}, {"U16", 16}, {"F16", 16}, {"BF16", 16},   {"I32", 32},    {"U32", 32},
      {"F32", 32}, {"F64", 64}, {"I64", 64}, {"U64", 64},    {"C64", 64},    {"F4", 4}};
  const auto found = kBits.find(dtype);
  return found == kBits.end() ? 0 : found->second;
}

std::vector<int64_t> read_shape(const Fields& fields) {
  const Json* list = fields.find("shape");
  if (list == nullptr || !list->is_array()) fields.fail("shape must be a list");
  if (list->size() > 8) fields.fail("more than 8 dimensions");
  std::vector<int64_t> shape;
  for (const Json& size : *list) {
    if (!size.is_number_unsigned() || size.get<uint64_t>() > (uint64_t{1} << 48)) {
      fields.fail("shape must hold whole numbers");
    }
    shape.push_back(size.get<int64_t>());
  }
  return shape;
}

uint64_t size_of(const Fields& fields, uint64_t bits, const std::vector<int64_t>& shape) {
  uint64_t total = bits;
  for (const int64_t size : shape) {
    if (__builtin_mul_overflow(total, static_cast<uint64_t>(size), &total)) {
      fields.fail("its shape makes more bytes than there can be");
    }
  }
  if (total % 8 != 0) fields.fail("its shape makes no whole bytes");
  return total / 8;
}

struct Span {
  uint64_t begin, end;
  const std::string* name;
};

// From {"data_offsets": [begin, end]}.
Span read_span(const Fields& fields, uint64_t data_bytes) {
  const Json* list = fields.find("data_offsets");
  const bool is_pair = list != nullptr && list->is_array() && list->size() == 2 &&
                       (*list)[0].is_number_unsigned() && (*list)[1].is_number_unsigned();
  if (!is_pair) fields.fail("data_offsets must be two whole numbers");
  const Span span = {(*list)[0].get<uint64_t>(), (*list)[1].get<uint64_t>(), nullptr};
  if (span.begin > span.end || span.end > data_bytes) {
    fields.fail("its data would lie at bytes " + std::to_string(span.begin) + " to " +
                std::to_string(span.end) + " of " + std::to_string(data_bytes) +
                "; the file is cut short or damaged");
  }
  return span;
}

void refuse_overlap(std::vector<Span> spans, const std::string& what) {
  std::sort(spans.begin(), spans.end(), [](const Span& a, const Span& b) {
    return a.begin != b.begin ? a.begin < b.begin : a.end < b.end;
  });
  for (size_t i = 1; i < spans.size(); ++i) {
    if (spans[i].begin >= spans[i - 1].end) continue;
    throw Error(ErrorCode::kCorruptData, what + ": the tensors " + in_quotes(*spans[i - 1].name) +
                                             " and " + in_quotes(*spans[i].name) + " overlap");
  }
}

// No separators, nothing hidden: what a folder lists under that very name.
bool is_plain_name(std::string_view name) {
  constexpr std::string_view kEnding = ".safetensors";
  return name.size() <= 255 && name.ends_with(kEnding) && !name.starts_with('.') &&
         std::all_of(name.begin(), name.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  c == '.' || c == '-' || c == '_';
         });
}

}  // namespace

SafetensorsFile SafetensorsFile::open(const std::string& path) {
  SafetensorsFile file;
  file.input_ = std::make_unique<InputFile>(path);
  file.read(ByteRange(*file.input_), "'" + printable(path) + "'");
  return file;
}

SafetensorsFile SafetensorsFile::parse(std::span<const std::byte> bytes) {
  SafetensorsFile file;
  file.read(ByteRange(bytes), "the safetensors file");
  return file;
}

void SafetensorsFile::read(const ByteRange& bytes, const std::string& what) {
  uint64_t header_bytes = 0;
  if (bytes.size() < sizeof(header_bytes)) {
    throw Error(ErrorCode::kCorruptData, what + " is too short for a safetensors file");
  }
  bytes.read(0, std::as_writable_bytes(std::span(&header_bytes, 1)));
  const uint64_t rest = bytes.size() - sizeof(header_bytes);
  if (header_bytes > kMaxHeaderBytes || header_bytes > rest) {
    throw Error(ErrorCode::kCorruptData,
                what + " claims a header of " + format_bytes(header_bytes) + " in a file of " +
                    format_bytes(bytes.size()) + "; it is cut short or no safetensors file");
  }
  std::string text(header_bytes, '\0');
  bytes.read(sizeof(header_bytes), std::as_writable_bytes(std::span(text)));
  const Json header = parse_object(text, what + ", header", 4);
  const uint64_t data_offset = sizeof(header_bytes) + header_bytes;
  const uint64_t data_bytes = bytes.size() - data_offset;

  std::vector<Span> spans;
  for (const auto& [name, entry] : header.items()) {
    if (name == "__metadata__") continue;
    const std::string place = what + ", tensor " + in_quotes(name);
    if (name.empty() || !entry.is_object()) {
      throw Error(ErrorCode::kCorruptData, place + " has no description");
    }
    const Fields fields(entry, place);
    SafeTensor tensor;
    tensor.name = name;
    tensor.dtype = fields.get_string("dtype").value_or("");
    const uint64_t bits = bits_of(tensor.dtype);
    if (bits == 0) fields.fail("the type " + in_quotes(tensor.dtype) + " is none of the format's");
    tensor.shape = read_shape(fields);
    const uint64_t expected = size_of(fields, bits, tensor.shape);
    Span span = read_span(fields, data_bytes);
    if (span.end - span.begin != expected) {
      fields.fail("it has " + std::to_string(span.end - span.begin) +
                  " bytes; its type and shape make " + std::to_string(expected));
    }
    tensor.data = bytes.part(data_offset + span.begin, expected);
    tensors_.push_back(std::move(tensor));
    if (expected > 0) spans.push_back(span);
  }
  // The names stay where they are from here on.
  size_t i = 0;
  for (const SafeTensor& tensor : tensors_) {
    if (tensor.data.size() > 0) spans[i++].name = &tensor.name;
  }
  refuse_overlap(std::move(spans), what);
}

ModelFiles list_model_files(const std::string& folder) {
  namespace fs = std::filesystem;
  std::error_code error;
  ModelFiles files;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    std::error_code ignored;
    if (!name.starts_with('.') && entry->is_regular_file(ignored)) {
      files[name] = entry->path().string();
    }
  }
  if (error) throw io_error("cannot read the folder", folder, error.value());
  return files;
}

std::vector<std::string> parse_index(std::string_view text) {
  const Json index = parse_object(text, kIndexFile, 8);
  const auto map = Fields(index, kIndexFile).get_object("weight_map");
  if (!map) throw Error(ErrorCode::kCorruptData, std::string(kIndexFile) + " has no weight_map");
  std::set<std::string> parts;
  for (const auto& [tensor, file] : map->object().items()) {
    if (!file.is_string() || !is_plain_name(file.get_ref<const std::string&>())) {
      throw Error(ErrorCode::kCorruptData,
                  std::string(kIndexFile) + ": the file of " + in_quotes(tensor) + ", " +
                      in_quotes(file.dump(-1, ' ', true, Json::error_handler_t::replace)) +
                      ", is no name of a .safetensors file beside it");
    }
    parts.insert(file.get<std::string>());
  }
  return {parts.begin(), parts.end()};
}

SafetensorsModel::SafetensorsModel(const ModelFiles& files) {
  if (const auto index = files.find(kIndexFile); index != files.end()) {
    for (const std::string& part : parse_index(read_small_file(index->second, kMaxIndexBytes))) {
      add(part, files);
    }
  } else if (files.contains(kSingleFile)) {
    add(kSingleFile, files);
  } else {
    throw Error(ErrorCode::kNotFound, std::string("there is neither ") + kSingleFile + " nor " +
                                          kIndexFile + " among the model's files");
  }
}

void SafetensorsModel::add(const std::string& name, const ModelFiles& files) {
  const auto found = files.find(name);
  if (found == files.end()) {
    throw Error(ErrorCode::kNotFound, "the model's part " + in_quotes(name) + " is missing");
  }
  parts_.push_back(std::make_unique<SafetensorsFile>(SafetensorsFile::open(found->second)));
  for (const SafeTensor& tensor : parts_.back()->tensors()) {
    if (!tensors_.emplace(tensor.name, &tensor).second) {
      throw Error(ErrorCode::kCorruptData,
                  "the tensor " + in_quotes(tensor.name) + " is in two of the model's parts");
    }
  }
}

}  // namespace sluice::convert
