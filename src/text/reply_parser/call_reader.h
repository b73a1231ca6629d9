#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/reply_format.h"
#include "text/reply_parser.h"
#include "text/reply_parser/json_scanner.h"

namespace sluice::text::reply {

enum class Match { kNo, kPartly, kYes };
// Whether `text` begins with `literal`, or may when it goes on. "" never matches.
Match match(std::string_view text, std::string_view literal);

// Reads a block of calls as it comes. Its input is what has come since the block's beginning, or
// since the end of its latest call: whoever takes a call out cuts it off.
class CallReader {
 public:
  enum class Result {
    kMore,    // nothing can be said yet
    kCall,    // call() ends at position()
    kEnded,   // the block has, at position(): what follows is something else
    kFailed,  // up to position() it is no call
  };

  // `open_size`: bytes of the input that opened the block; `is_bare`: none did, and the white space
  // before the JSON was so long.
  CallReader(const CallSyntax& syntax, const std::vector<KnownTool>& tools, size_t open_size,
             bool is_bare);

  Result read(std::string_view input);
  // No more input comes.
  Result finish(std::string_view input);
  size_t position() const { return at_; }
  // After kCall. The next input begins at position().
  CalledTool take_call();

 private:
  enum class Phase { kBetween, kName, kId, kTypedName, kArguments, kObject, kKey, kValue, kPython };
  enum class Step { kAgain, kMore, kCall, kEnded, kFailed };

  Step step(std::string_view input);
  Step read_between(std::string_view input);
  Step read_name(std::string_view input);
  Step read_id(std::string_view input);
  Step read_typed_name(std::string_view input);
  Step read_arguments(std::string_view input);
  Step read_object(std::string_view input);
  Step read_key(std::string_view input);
  Step read_value(std::string_view input);
  Step read_python(std::string_view input);

  Step enter(Phase phase, size_t at);
  Step leave(size_t at);
  Step end_object(std::string_view object);
  Step end_name(std::string_view header, size_t at, Phase next);
  bool is_hopeless(std::string_view object, char byte);
  bool is_known(std::string_view name) const;
  void add_value(std::string_view text);

  const CallSyntax& syntax_;
  const std::vector<KnownTool>& tools_;
  const bool is_bare_;
  Phase phase_ = Phase::kBetween;
  bool is_open_;           // a marker has promised a call that has not come
  bool is_array_ = false;  // of calls
  int num_calls_ = 0;
  size_t at_;         // how far the input is read
  size_t begin_ = 0;  // of what is being read
  JsonScanner scanner_;
  bool is_call_object_ = false;  // the object has the name; otherwise it is the arguments
  bool is_name_checked_ = false;
  bool is_first_key_checked_ = false;
  int num_members_ = 0;        // of bare JSON before its name
  bool is_in_string_ = false;  // of has_python_arguments
  CalledTool call_;
  std::string key_;
};

}  // namespace sluice::text::reply
