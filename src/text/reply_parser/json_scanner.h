#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::text::reply {

// JSON's white space, which is also what stands beside markers.
bool is_white(char byte);
size_t count_white(std::string_view text);  // at its beginning
std::string_view trimmed(std::string_view text);

// Reads one JSON value byte by byte and says where it ends: strict JSON (RFC 8259), at most
// kMaxDepth deep. Builds nothing.
class JsonScanner {
 public:
  static constexpr size_t kMaxDepth = 100;
  enum class Status { kMore, kDone, kBad };

  // kDone with the last byte of an object, an array, a string or a word; then, and after kBad,
  // nothing may follow. A number is done when finish() says so. White space may come before it.
  Status push(char byte);
  // Whether what has come is a whole value.
  bool finish();
  size_t depth() const { return objects_.size(); }
  bool is_in_text() const {
    return within_ == Within::kString || within_ == Within::kEscape || within_ == Within::kHex;
  }

 private:
  enum class Expect : uint8_t {
    kValue,
    kValueOrEnd,  // behind [
    kKey,         // behind a comma
    kKeyOrEnd,    // behind {
    kColon,
    kCommaOrEnd,
    kDone,
  };
  enum class Within : uint8_t { kNothing, kString, kEscape, kHex, kWord, kNumber };
  enum class Number : uint8_t { kMinus, kZero, kDigits, kPoint, kFraction, kE, kSign, kExponent };

  Status begin_value(char byte);
  Status end_value();
  Status push_string(char byte);
  Status push_number(char byte);
  Status push_structure(char byte);
  bool advance_number(char byte);
  bool is_whole_number() const;

  std::vector<bool> objects_;  // of what is open: an object, or an array
  Expect expect_ = Expect::kValue;
  Within within_ = Within::kNothing;
  Number number_ = Number::kMinus;
  bool is_key_ = false;    // the string is one
  uint8_t num_left_ = 0;   // hexadecimal digits; bytes of a character
  std::string_view word_;  // what is left of it
};

// Whether the text is one JSON value, with white space around it.
bool is_json(std::string_view text);

// The text of a JSON string, quotes included; nullopt when it is none.
std::optional<std::string> read_json_string(std::string_view json);
void append_json_string(std::string& out, std::string_view text);

// The members of a JSON object, their values as they stand there; nullopt when it is none.
struct JsonMember {
  std::string key;
  std::string_view value;
};
std::optional<std::vector<JsonMember>> read_json_members(std::string_view json);

}  // namespace sluice::text::reply
