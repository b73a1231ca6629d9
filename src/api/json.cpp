#include "api/json.h"
#include "api/error.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <numeric>
#include <vector>

#include "api/unicode_repair.h"
#include "base/error.h"

namespace sluice::api {
namespace {

// The library's destructor moves all children into a list of its own first. Depth is bounded by
// JsonLimits.
void take_apart(Json& value) noexcept {
  if (value.is_array()) {
    auto& items = value.get_ref<Json::array_t&>();
    for (Json& item : items) take_apart(item);
    items.clear();
  } else if (value.is_object()) {
    auto& members = value.get_ref<Json::object_t&>();
    for (auto& [name, member] : members) take_apart(member);
    members.clear();
  }
}

// An array or object that is being read. Not yet a Json: growing one copies its members, with all
// that is in them.
struct OpenContainer {
  explicit OpenContainer(bool is_list) : is_array(is_list) {}
  OpenContainer(OpenContainer&&) noexcept = default;
  ~OpenContainer() {
    for (Json& value : values) take_apart(value);
  }

  bool is_array;
  std::vector<std::string> names;  // of an object's members
  Json::array_t values;
};

// Of members with one name the last counts, at the place of the first, as in Go. By sorting: a
// client could choose names that have one hash.
Json make_object(OpenContainer& container, Work& work) {
  std::vector<std::string>& names = container.names;
  Json::array_t& values = container.values;
  const size_t count = names.size();
  std::vector<uint32_t> order(count);  // by name, then place
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [&](uint32_t left, uint32_t right) {
    work.charge(sizeof(Json));
    const int sign = names[left].compare(names[right]);
    return sign != 0 ? sign < 0 : left < right;
  });
  std::vector<bool> is_kept(count, true);
  size_t num_kept = count;
  for (size_t i = count; i-- > 1;) {
    if (names[order[i]] != names[order[i - 1]]) continue;
    std::swap(values[order[i]], values[order[i - 1]]);
    is_kept[order[i]] = false;
    --num_kept;
  }
  Json object = Json::object();
  auto& members = object.get_ref<Json::object_t&>();
  members.reserve(num_kept);
  for (size_t i = 0; i < count; ++i) {
    if (is_kept[i]) members.emplace_back(std::move(names[i]), std::move(values[i]));
  }
  return object;
}

// Builds the value from the parser's events and stops at the first limit. (The library's own
// builder looks every new member up in a list: quadratic for objects with many members.)
class Builder : public nlohmann::json_sax<Json> {
 public:
  Builder(const JsonLimits& limits, Work& work) : limits_(limits), work_(work) {}

  JsonTree take() { return std::move(root_); }

  bool null() override { return add(nullptr); }
  bool boolean(bool value) override { return add(value); }
  bool number_integer(int64_t value) override { return add(value); }
  bool number_unsigned(uint64_t value) override { return add(value); }
  bool number_float(double value, const std::string&) override { return add(value); }
  bool string(std::string& value) override { return add(std::move(value)); }
  bool binary(Json::binary_t&) override { return false; }
  bool start_object(size_t) override { return open(false); }
  bool end_object() override { return close(); }
  bool start_array(size_t) override { return open(true); }
  bool end_array() override { return close(); }

  bool key(std::string& name) override {
    count_value();
    open_.back().names.push_back(std::move(name));
    return true;
  }

  bool parse_error(size_t position, const std::string&,
                   const nlohmann::detail::exception& error) override {
    // The library's text is "... while parsing value - REASON; last read: ..."; the rest of it may
    // repeat much of the input.
    const std::string_view text = error.what();
    std::string_view reason = "syntax error";
    if (error.id == 406) reason = "number out of range";
    if (const size_t begin = text.find(" - "); begin != std::string_view::npos) {
      reason = text.substr(begin + 3);
      reason = reason.substr(0, std::min({reason.find(';'), reason.find('\''), size_t{80}}));
    }
    fail("invalid JSON at byte " + std::to_string(position) + ": " + std::string(reason));
  }

 private:
  void count_value() {
    work_.charge(sizeof(Json));
    if (++num_values_ > limits_.max_values) {
      fail("JSON has more than " + std::to_string(limits_.max_values) + " values");
    }
  }

  bool place(JsonTree value) {
    if (open_.empty()) {
      root_ = std::move(value);
    } else {
      open_.back().values.push_back(std::move(*value));
    }
    return true;
  }

  bool add(Json value) {
    count_value();
    return place(std::move(value));
  }

  bool open(bool is_array) {
    if (open_.size() >= static_cast<size_t>(limits_.max_depth)) {
      fail("JSON is nested deeper than " + std::to_string(limits_.max_depth) + " levels");
    }
    count_value();
    open_.emplace_back(is_array);
    return true;
  }

  bool close() {
    OpenContainer& top = open_.back();
    JsonTree value = top.is_array ? Json(std::move(top.values)) : make_object(top, work_);
    open_.pop_back();
    return place(std::move(value));
  }

  const JsonLimits& limits_;
  Work& work_;
  JsonTree root_;
  std::vector<OpenContainer> open_;
  size_t num_values_ = 0;
};

bool equal_ignoring_case(std::string_view left, std::string_view right) {
  return std::equal(left.begin(), left.end(), right.begin(), right.end(), [](char a, char b) {
    return std::tolower(static_cast<unsigned char>(a)) ==
           std::tolower(static_cast<unsigned char>(b));
  });
}

[[noreturn]] void fail_type(std::string_view name, const char* expected) {
  fail("field \"" + std::string(name) + "\" must be " + expected);
}

}  // namespace

JsonTree::~JsonTree() { take_apart(value_); }

Json parse_json(std::string_view text, const JsonLimits& limits) {
  Work work;
  return std::move(*parse_json(text, work, limits));
}

JsonTree parse_json(std::string_view text, Work& work, const JsonLimits& limits) {
  if (text.size() > limits.max_bytes) {
    fail("JSON of " + std::to_string(text.size()) + " bytes is larger than the limit of " +
         std::to_string(limits.max_bytes));
  }
  // The library takes a zero byte for the end of the text and would ignore what follows.
  if (const size_t zero = text.find('\0'); zero != std::string_view::npos) {
    fail("invalid JSON at byte " + std::to_string(zero + 1) + ": zero byte");
  }
  work.charge(text.size());
  Builder builder(limits, work);
  const std::optional<std::string> repaired = repair_unicode(text);
  if (repaired) text = *repaired;
  Json::sax_parse(text.begin(), text.end(), &builder);
  return builder.take();
}

JsonTree parse_body(std::string_view body, Work& work, const JsonLimits& limits) {
  if (body.find_first_not_of(" \t\r\n") == std::string_view::npos) fail("missing request body");
  JsonTree json = parse_json(body, work, limits);
  if (!json->is_object()) fail("the request body must be a JSON object");
  return json;
}

std::string dump_json(const Json& value) {
  return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

const Json* find_field(const Json& object, std::string_view name) {
  if (!object.is_object()) return nullptr;
  const Json* similar = nullptr;
  for (const auto& [key, value] : object.get_ref<const Json::object_t&>()) {
    if (key == name) return value.is_null() ? nullptr : &value;
    if (!value.is_null() && equal_ignoring_case(key, name)) similar = &value;
  }
  return similar;
}

Json* find_field(Json& object, std::string_view name) {
  return const_cast<Json*>(find_field(std::as_const(object), name));
}

std::optional<std::string> string_field(const Json& object, std::string_view name) {
  const Json* field = find_field(object, name);
  if (field == nullptr) return std::nullopt;
  if (!field->is_string()) fail_type(name, "a string");
  return field->get<std::string>();
}

std::optional<bool> bool_field(const Json& object, std::string_view name) {
  const Json* field = find_field(object, name);
  if (field == nullptr) return std::nullopt;
  if (!field->is_boolean()) fail_type(name, "a boolean");
  return field->get<bool>();
}

std::optional<int64_t> int_field(const Json& object, std::string_view name, int64_t min,
                                 int64_t max) {
  const Json* field = find_field(object, name);
  if (field == nullptr) return std::nullopt;
  int64_t value = 0;
  bool is_in_range = true;
  if (field->is_number_unsigned()) {
    const auto number = field->get<uint64_t>();
    is_in_range = std::in_range<int64_t>(number);
    value = is_in_range ? static_cast<int64_t>(number) : 0;
  } else if (field->is_number_integer()) {
    value = field->get<int64_t>();
  } else if (field->is_number_float()) {
    const double number = field->get<double>();  // "1.0" and "1e3" are integers too
    if (number != std::floor(number)) fail_type(name, "an integer");
    is_in_range = number >= -0x1p63 && number < 0x1p63;
    value = is_in_range ? static_cast<int64_t>(number) : 0;
  } else {
    fail_type(name, "an integer");
  }
  if (!is_in_range || value < min || value > max) {
    fail("field \"" + std::string(name) + "\" must be between " + std::to_string(min) + " and " +
         std::to_string(max));
  }
  return value;
}

std::optional<double> number_field(const Json& object, std::string_view name) {
  const Json* field = find_field(object, name);
  if (field == nullptr) return std::nullopt;
  if (!field->is_number()) fail_type(name, "a number");
  return field->get<double>();
}

const Json* array_field(const Json& object, std::string_view name) {
  const Json* field = find_field(object, name);
  if (field != nullptr && !field->is_array()) fail_type(name, "a list");
  return field;
}

const Json* object_field(const Json& object, std::string_view name) {
  const Json* field = find_field(object, name);
  if (field != nullptr && !field->is_object()) fail_type(name, "an object");
  return field;
}

Json* array_field(Json& object, std::string_view name) {
  return const_cast<Json*>(array_field(std::as_const(object), name));
}

Json* object_field(Json& object, std::string_view name) {
  return const_cast<Json*>(object_field(std::as_const(object), name));
}

std::string take_string(Json& object, std::string_view name) {
  Json* field = find_field(object, name);
  if (field == nullptr) return {};
  if (!field->is_string()) fail_type(name, "a string");
  return std::move(field->get_ref<std::string&>());
}

}  // namespace sluice::api
