#include "cli/show_text.h"

#include <algorithm>
#include <map>
#include <sstream>
#include <vector>

#include "base/print.h"
#include "base/units.h"

namespace sluice::cli {
namespace {

using api::Json;
using Rows = std::vector<std::vector<std::string>>;

void add_block(std::string& out, const std::string& title, Rows rows) {
  if (rows.empty()) return;
  size_t width = 0;
  for (auto& row : rows) {
    for (std::string& cell : row) cell = printable(cell);
    if (row.size() > 1) width = std::max(width, display_width(row[0]));
  }
  out += "  " + title + "\n";
  for (const auto& row : rows) {
    out += "    " + row[0];
    for (size_t i = 1; i < row.size(); ++i) {
      const size_t used = i == 1 ? display_width(row[0]) : 0;
      out += std::string(i == 1 ? width - used + 4 : 4, ' ') + row[i];
    }
    out += "\n";
  }
  out += "\n";
}

// A number of the model's metadata, whose keys begin with the architecture.
std::string number_text(const Json& info, const std::string& key) {
  const Json* value = api::find_field(info, key);
  if (value == nullptr || !value->is_number()) return "";
  return api::dump_json(*value);
}

Rows model_rows(const Json& reply) {
  Rows rows;
  const auto add = [&rows](const char* name, const std::string& value) {
    if (!value.empty()) rows.push_back({name, value});
  };
  const Json* info = api::object_field(reply, "model_info");
  const Json* details = api::object_field(reply, "details");
  if (info != nullptr) {
    const std::string architecture = api::string_field(*info, "general.architecture").value_or("");
    add("architecture", architecture);
    const Json* count = api::find_field(*info, "general.parameter_count");
    if (count != nullptr && count->is_number_integer()) {
      add("parameters", format_parameter_count(count->get<uint64_t>()));
    }
    add("context length", number_text(*info, architecture + ".context_length"));
    add("embedding length", number_text(*info, architecture + ".embedding_length"));
  }
  if (details != nullptr) {
    add("quantization", api::string_field(*details, "quantization_level").value_or(""));
  }
  return rows;
}

// The first lines of a long text, and "..." when there are more.
Rows first_lines(const std::string& text, size_t count) {
  Rows rows;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) {
    if (line.empty()) continue;
    if (rows.size() == count) {
      rows.push_back({"..."});
      break;
    }
    rows.push_back({line});
  }
  return rows;
}

Rows parameter_rows(const std::string& text) {
  Rows rows;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) {
    const size_t end = line.find(' ');
    if (end == std::string::npos) continue;
    const size_t value = line.find_first_not_of(' ', end);
    if (value != std::string::npos) rows.push_back({line.substr(0, end), line.substr(value)});
  }
  return rows;
}

Rows metadata_rows(const Json& info) {
  Rows rows;
  for (const auto& [key, value] : info.items()) {
    std::string text = value.is_string() ? value.get<std::string>() : api::dump_json(value);
    if (text.size() > 100) text = cut_to_width(printable(text.substr(0, 400)), 100) + "...";
    rows.push_back({key, text});
  }
  return rows;
}

// "[576,49152]": with the fastest dimension first, as the file has it.
std::string shape_text(const Json& tensor) {
  const Json* shape = api::array_field(tensor, "shape");
  return shape != nullptr ? api::dump_json(*shape) : "";
}

Rows tensor_rows(const Json& tensors) {
  Rows rows;
  for (const Json& tensor : tensors) {
    rows.push_back({api::string_field(tensor, "name").value_or(""),
                    api::string_field(tensor, "type").value_or("") + "    " + shape_text(tensor)});
  }
  return rows;
}

}  // namespace

std::string tensors_text(const Json& reply) {
  const Json* tensors = api::array_field(reply, "tensors");
  if (tensors == nullptr || tensors->empty()) return "  no tensors are known\n";
  std::map<std::string, int> counts;
  size_t width = 0;
  for (const Json& tensor : *tensors) {
    ++counts[printable(api::string_field(tensor, "type").value_or(""))];
    width = std::max(width, printable(api::string_field(tensor, "name").value_or("")).size());
  }
  std::string out;
  for (const Json& tensor : *tensors) {
    const std::string name = printable(api::string_field(tensor, "name").value_or(""));
    const std::string type = printable(api::string_field(tensor, "type").value_or(""));
    out += "  " + name + std::string(width - name.size() + 4, ' ') + type +
           std::string(type.size() < 10 ? 10 - type.size() : 1, ' ') + shape_text(tensor) + "\n";
  }
  out += "\n  ";
  const char* separator = "";
  for (const auto& [type, count] : counts) {
    out += separator + std::to_string(count) + " " + type;
    separator = ", ";
  }
  return out + "\n";
}

std::string show_text(const Json& reply, bool verbose) {
  std::string out;
  add_block(out, "Model", model_rows(reply));
  Rows capabilities;
  if (const Json* list = api::array_field(reply, "capabilities")) {
    for (const Json& item : *list) {
      if (item.is_string()) capabilities.push_back({item.get<std::string>()});
    }
  }
  add_block(out, "Capabilities", capabilities);
  add_block(out, "Parameters", parameter_rows(api::string_field(reply, "parameters").value_or("")));
  if (verbose) {
    if (const Json* info = api::object_field(reply, "model_info")) {
      add_block(out, "Metadata", metadata_rows(*info));
    }
    if (const Json* tensors = api::array_field(reply, "tensors")) {
      add_block(out, "Tensors", tensor_rows(*tensors));
    }
  }
  add_block(out, "System", first_lines(api::string_field(reply, "system").value_or(""), 2));
  add_block(out, "License", first_lines(api::string_field(reply, "license").value_or(""), 2));
  return out;
}

}  // namespace sluice::cli
