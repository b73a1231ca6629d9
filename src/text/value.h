#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace sluice::text {

// A JSON-like value as chat templates see it: mappings keep their order. Plain data, copied cheaply
// (lists and mappings are shared and immutable once built).
class Value {
 public:
  using List = std::vector<Value>;
  using Dict = std::vector<std::pair<std::string, Value>>;

  Value() = default;                                       // none
  Value(bool value) : data_(value) {}                      // NOLINT: implicit by design
  Value(int value) : data_(int64_t{value}) {}              // NOLINT
  Value(int64_t value) : data_(value) {}                   // NOLINT
  Value(double value) : data_(value) {}                    // NOLINT
  Value(const char* value) : data_(std::string(value)) {}  // NOLINT
  Value(std::string value) : data_(std::move(value)) {}    // NOLINT
  Value(List value) : data_(std::make_shared<const List>(std::move(value))) {}  // NOLINT
  // Text that may spell control tokens, as the template's own: never what a client says.
  static Value trusted(std::string value) {
    Value result;
    result.data_ = Trusted{std::move(value)};
    return result;
  }
  Value(Dict value) : data_(std::make_shared<const Dict>(std::move(value))) {}  // NOLINT

  bool is_none() const { return std::holds_alternative<std::monostate>(data_); }
  const bool* as_bool() const { return std::get_if<bool>(&data_); }
  const int64_t* as_int() const { return std::get_if<int64_t>(&data_); }
  const double* as_double() const { return std::get_if<double>(&data_); }
  const std::string* as_string() const {
    const Trusted* trusted = std::get_if<Trusted>(&data_);
    return trusted ? &trusted->text : std::get_if<std::string>(&data_);
  }
  bool is_trusted() const { return std::holds_alternative<Trusted>(data_); }
  const List* as_list() const {
    auto* list = std::get_if<std::shared_ptr<const List>>(&data_);
    return list ? list->get() : nullptr;
  }
  const Dict* as_dict() const {
    auto* dict = std::get_if<std::shared_ptr<const Dict>>(&data_);
    return dict ? dict->get() : nullptr;
  }
  // Member of a mapping; null when absent or not a mapping.
  const Value* find(std::string_view key) const {
    if (const Dict* dict = as_dict()) {
      for (const auto& [name, value] : *dict) {
        if (name == key) return &value;
      }
    }
    return nullptr;
  }

 private:
  struct Trusted {
    std::string text;
  };
  std::variant<std::monostate, bool, int64_t, double, std::string, Trusted,
               std::shared_ptr<const List>, std::shared_ptr<const Dict>>
      data_;
};

}  // namespace sluice::text
