#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

// How models of a family write their replies: what they think, the tools they call, the text.
namespace sluice::text {

// A control token in a reply's text stands there as its own text between two of these bytes, which
// no UTF-8 has: nobody who spells it with plain tokens gets the same.
inline constexpr char kControlFrame = '\xFF';
std::string frame_control(std::string_view token_text);

// Tool calls. All texts are as they stand in a reply, control tokens in frames. A block of calls is
//   open call... close
// with white space, commas, semicolons and `fillers` between its parts. A call is a JSON object
// with a name and arguments, or a name followed by its arguments:
//   call_begin NAME [id_begin ID] name_end {JSON}
//   call_begin NAME name_end (key_begin KEY key_end [value_begin] VALUE value_end)... call_end
struct CallSyntax {
  std::vector<std::string> opens;    // none: the family calls no tools
  std::vector<std::string> closes;   // a block may also just end
  std::vector<std::string> fillers;  // mean nothing
  bool takes_objects = false;        // JSON objects with a name, alone or in an array
  bool may_be_bare = false;          // a reply that begins with such JSON needs no `open`

  bool takes_names = false;     // calls that begin with the name; `call_begin` and others may be ""
  bool has_type_first = false;  // TYPE name_end NAME and a line feed, in DeepSeek's older models
  bool has_python_arguments = false;  // key="value", key=1)
  std::string call_begin, id_begin, name_end;
  std::string key_begin, key_end, value_begin, value_end, call_end;

  // What else a grammar has to write.
  std::string arguments_key = "arguments";  // takes_objects
  std::string name_prefix, name_suffix;     // around the name; the suffix is an expression
  std::string argument_prefix;              // before JSON that follows a name
  std::string item_end;                     // behind a call
  std::string separator = "\n";             // between calls, or blocks
  std::string pad = "";                     // beside the values of keys, and within a block
  bool writes_array = false;                // all calls in one array
  bool is_single = false;                   // one call is all that the family knows
  bool repeats_open = true;                 // several calls: each in a block of its own

  bool is_none() const { return opens.empty() && !may_be_bare; }
};

struct ReplyFormat {
  std::string think_open, think_close;  // "": the family does not think aloud
  CallSyntax calls;
  // gpt-oss: messages with a header, `<|channel|>analysis<|message|>...<|end|>`. Neither of the two
  // above then.
  bool is_harmony = false;
  size_t call_id_size = 0;  // templates that ask for ids of so many letters and digits; 0: any

  bool has_thinking() const { return is_harmony || !think_close.empty(); }
  bool has_calls() const { return is_harmony || !calls.is_none(); }
};

// The format of a model with this chat template, Jinja or Go. `is_control`: whether the vocabulary
// has a control token of this text; what it has none of is written as text.
using IsControl = std::function<bool(std::string_view token_text)>;
ReplyFormat find_reply_format(std::string_view chat_template, const IsControl& is_control);

}  // namespace sluice::text
