#include "text/reply_parser/call_reader.h"

#include <algorithm>
#include <array>
#include <cctype>

namespace sluice::text::reply {
namespace {

constexpr size_t kMaxNameBytes = 256;

// OpenAI's names have letters, digits, '_' and '-'; families and servers add some.
bool is_name_byte(char byte) {
  const auto code = static_cast<unsigned char>(byte);
  return std::isalnum(code) != 0 || byte == '_' || byte == '-' || byte == '.' || byte == ':' ||
         byte == '/';
}

bool is_one_of(std::string_view text, std::initializer_list<std::string_view> list) {
  return std::ranges::find(list, text) != list.end();
}

bool is_name_key(std::string_view key) { return is_one_of(key, {"name", "function", "tool_name"}); }

bool is_arguments_key(std::string_view key) {
  return is_one_of(key, {"arguments", "parameters", "args"});
}

// Arguments as a JSON object, or within a string; "" when they are neither.
std::string read_arguments_value(std::string_view value) {
  if (value == "null") return "{}";
  if (value.starts_with('{')) return std::string(value);
  const auto text = read_json_string(value);
  if (!text) return {};
  if (trimmed(*text).empty()) return "{}";
  return read_json_members(*text) ? std::string(trimmed(*text)) : std::string();
}

bool read_call_object(std::string_view object, CalledTool& call, bool is_nested = false) {
  const auto members = read_json_members(object);
  if (!members) return false;
  call.arguments = "{}";
  for (const JsonMember& member : *members) {
    if (member.key == "function" && member.value.starts_with('{')) {
      if (is_nested || !read_call_object(member.value, call, true)) return false;
    } else if (is_name_key(member.key)) {
      call.name = read_json_string(member.value).value_or("");
    } else if (is_arguments_key(member.key)) {
      call.arguments = read_arguments_value(member.value);
      if (call.arguments.empty()) return false;
    } else if (member.key == "id" || member.key == "tool_call_id") {
      call.id = read_json_string(member.value).value_or("");
    }
  }
  return !call.name.empty();
}

// key="value", key=1 as the members of an object; "" when it is something else.
std::string read_python_arguments(std::string_view text) {
  std::string json = "{";
  text = trimmed(text);
  while (!text.empty()) {
    const size_t equals = text.find('=');
    if (equals == std::string_view::npos) return {};
    const std::string_view key = trimmed(text.substr(0, equals));
    if (key.empty() || !std::ranges::all_of(key, is_name_byte)) return {};
    text = trimmed(text.substr(equals + 1));
    size_t end = 0;
    if (text.starts_with('"')) {
      for (end = 1; end < text.size() && text[end] != '"'; ++end) end += text[end] == '\\';
      if (++end > text.size()) return {};
    } else {
      end = std::min(text.find(','), text.size());
    }
    const std::string_view value = trimmed(text.substr(0, end));
    if (!is_json(value)) return {};
    if (json.size() > 1) json += ", ";
    append_json_string(json, key);
    json += ": ";
    json += value;
    text = trimmed(text.substr(end));
    if (text.empty()) break;
    if (text.front() != ',') return {};
    text = trimmed(text.substr(1));
  }
  return json + "}";
}

}  // namespace

Match match(std::string_view text, std::string_view literal) {
  if (literal.empty()) return Match::kNo;
  if (text.starts_with(literal)) return Match::kYes;
  return literal.starts_with(text) ? Match::kPartly : Match::kNo;
}

CallReader::CallReader(const CallSyntax& syntax, const std::vector<KnownTool>& tools,
                       size_t open_size, bool is_bare)
    : syntax_(syntax), tools_(tools), is_bare_(is_bare), is_open_(!is_bare), at_(open_size) {}

CalledTool CallReader::take_call() {
  phase_ = Phase::kBetween;
  is_open_ = false;
  at_ = 0;
  ++num_calls_;
  return std::exchange(call_, {});
}

CallReader::Result CallReader::read(std::string_view input) {
  for (;;) {
    switch (step(input)) {
      case Step::kAgain:
        break;
      case Step::kMore:
        return Result::kMore;
      case Step::kCall:
        return Result::kCall;
      case Step::kEnded:
        return Result::kEnded;
      case Step::kFailed:
        return Result::kFailed;
    }
  }
}

CallReader::Result CallReader::finish(std::string_view input) {
  if (phase_ == Phase::kBetween && num_calls_ > 0 && !is_open_) {
    const std::string_view rest = input.substr(at_);
    if (count_white(rest) == rest.size()) at_ = input.size();
    return Result::kEnded;
  }
  at_ = input.size();
  return Result::kFailed;
}

CallReader::Step CallReader::step(std::string_view input) {
  switch (phase_) {
    case Phase::kBetween:
      return read_between(input);
    case Phase::kName:
      return read_name(input);
    case Phase::kId:
      return read_id(input);
    case Phase::kTypedName:
      return read_typed_name(input);
    case Phase::kArguments:
      return read_arguments(input);
    case Phase::kObject:
      return read_object(input);
    case Phase::kKey:
      return read_key(input);
    case Phase::kValue:
      return read_value(input);
    case Phase::kPython:
      return read_python(input);
  }
  return Step::kFailed;
}

CallReader::Step CallReader::enter(Phase phase, size_t at) {
  phase_ = phase;
  at_ = begin_ = at;
  return Step::kAgain;
}

// Between calls stands something that belongs to none.
CallReader::Step CallReader::leave(size_t at) {
  if (num_calls_ > 0 && !is_open_) return Step::kEnded;
  at_ = at;
  return Step::kFailed;
}

CallReader::Step CallReader::read_between(std::string_view input) {
  size_t at = at_;
  while (at < input.size() && (is_white(input[at]) || input[at] == ',' || input[at] == ';')) ++at;
  const std::string_view rest = input.substr(at);
  if (rest.empty()) return Step::kMore;
  const auto begin_object = [&] {
    scanner_ = {};
    is_call_object_ = true;
    is_name_checked_ = is_first_key_checked_ = !is_bare_;
    num_members_ = 0;
    return enter(Phase::kObject, at);
  };
  if (is_array_) {
    if (rest[0] == '{') return begin_object();
    if (rest[0] != ']') return leave(at);
    is_array_ = false;
    return enter(Phase::kBetween, at + 1);
  }
  bool is_partly = false;
  const auto is = [&](const std::string& literal) {
    const Match found = match(rest, literal);
    is_partly = is_partly || found == Match::kPartly;
    return found == Match::kYes;
  };
  for (const std::string& close : syntax_.closes) {
    if (!is(close)) continue;
    if (is_open_) return leave(at);
    at_ = at + close.size();
    return Step::kEnded;
  }
  for (const std::string& filler : syntax_.fillers) {
    if (is(filler)) return enter(Phase::kBetween, at + filler.size());
    if (is_partly) return Step::kMore;  // of two the longer one comes first
  }
  if (!is_open_ && is(syntax_.call_end)) {
    return enter(Phase::kBetween, at + syntax_.call_end.size());
  }
  if (syntax_.takes_names && is(syntax_.call_begin)) {
    return enter(Phase::kName, at + syntax_.call_begin.size());
  }
  for (const std::string& open : syntax_.opens) {
    if (is_open_ || !is(open)) continue;
    is_open_ = true;
    return enter(Phase::kBetween, at + open.size());
  }
  if (syntax_.takes_objects && rest[0] == '{') return begin_object();
  const bool may_be_array = is_open_ || num_calls_ == 0;
  if (syntax_.takes_objects && rest[0] == '[' && may_be_array) {
    is_array_ = true;
    return enter(Phase::kBetween, at + 1);
  }
  if (is_partly) return Step::kMore;
  const bool may_be_name = syntax_.takes_names && syntax_.call_begin.empty() && is_open_;
  if (may_be_name && is_name_byte(rest[0])) return enter(Phase::kName, at);
  return leave(at);
}

// The name, or what else the texts around it say: "functions.NAME:0" is also an id.
CallReader::Step CallReader::end_name(std::string_view header, size_t at, Phase next) {
  std::string_view name = trimmed(header);
  constexpr std::string_view kPrefix = "functions.";
  if (name.starts_with(kPrefix)) {
    const size_t colon = name.rfind(':');
    if (colon != std::string_view::npos) call_.id = name;
    name = name.substr(kPrefix.size(), colon == std::string_view::npos ? std::string_view::npos
                                                                       : colon - kPrefix.size());
  }
  const bool is_name = !name.empty() && std::ranges::all_of(name, is_name_byte);
  if (!is_name) {
    at_ = at;
    return Step::kFailed;
  }
  call_.name = name;
  call_.arguments = "{}";
  return enter(next, at);
}

CallReader::Step CallReader::read_name(std::string_view input) {
  const std::string_view header = input.substr(begin_);
  for (size_t i = 0; i < header.size() && i <= kMaxNameBytes; ++i) {
    const std::string_view rest = header.substr(i);
    const auto ends = [&](const std::string& literal) { return match(rest, literal); };
    const size_t at = begin_ + i;
    if (ends(syntax_.name_end) == Match::kYes) {
      const Phase next = syntax_.has_python_arguments ? Phase::kPython : Phase::kArguments;
      return end_name(header.substr(0, i), at + syntax_.name_end.size(), next);
    }
    if (ends(syntax_.id_begin) == Match::kYes) {
      return end_name(header.substr(0, i), at + syntax_.id_begin.size(), Phase::kId);
    }
    const bool may_end_so = !syntax_.has_python_arguments && !syntax_.has_type_first;
    const bool is_argument = ends(syntax_.key_begin) == Match::kYes || rest[0] == '{';
    const bool is_end = syntax_.name_end.empty() && ends(syntax_.call_end) == Match::kYes;
    if ((is_argument && may_end_so) || is_end) {
      return end_name(header.substr(0, i), at, Phase::kArguments);
    }
    for (const std::string* literal :
         {&syntax_.name_end, &syntax_.id_begin, &syntax_.key_begin, &syntax_.call_end}) {
      if (ends(*literal) == Match::kPartly) return Step::kMore;
    }
    if (is_name_byte(rest[0]) || is_white(rest[0])) continue;
    at_ = at;
    return Step::kFailed;
  }
  if (header.size() <= kMaxNameBytes) return Step::kMore;
  at_ = begin_ + kMaxNameBytes;
  return Step::kFailed;
}

CallReader::Step CallReader::read_id(std::string_view input) {
  const std::string_view header = input.substr(begin_);
  size_t count = 0;
  while (count < header.size() && count <= kMaxNameBytes && is_name_byte(header[count])) ++count;
  const Match end = match(header.substr(count), syntax_.name_end);
  if (end == Match::kPartly && count <= kMaxNameBytes) return Step::kMore;
  if (end == Match::kNo || count > kMaxNameBytes) {
    at_ = begin_ + count;
    return Step::kFailed;
  }
  call_.id = header.substr(0, count);
  return enter(Phase::kArguments, begin_ + count + syntax_.name_end.size());
}

// What was read as the name was the type.
CallReader::Step CallReader::read_typed_name(std::string_view input) {
  const std::string_view line = input.substr(begin_);
  size_t count = 0;
  while (count < line.size() && count <= kMaxNameBytes && is_name_byte(line[count])) ++count;
  if (count == line.size() && count <= kMaxNameBytes) return Step::kMore;
  at_ = begin_ + count;
  if (count > kMaxNameBytes || !is_white(line[count])) return Step::kFailed;
  call_.name = line.substr(0, count);
  return enter(Phase::kArguments, at_);
}

CallReader::Step CallReader::read_arguments(std::string_view input) {
  const size_t at = at_ + count_white(input.substr(at_));
  const std::string_view rest = input.substr(at);
  if (rest.empty()) return Step::kMore;
  const bool has_keys = call_.arguments.size() > 2;
  if (rest[0] == '{' && !has_keys) {
    scanner_ = {};
    is_call_object_ = false;
    is_name_checked_ = is_first_key_checked_ = true;
    return enter(Phase::kObject, at);
  }
  for (const std::string& filler : syntax_.fillers) {
    const Match found = match(rest, filler);
    if (found == Match::kYes) return enter(Phase::kArguments, at + filler.size());
    if (found == Match::kPartly) return Step::kMore;
  }
  const Match key = match(rest, syntax_.key_begin);
  if (key == Match::kYes) return enter(Phase::kKey, at + syntax_.key_begin.size());
  const Match end = match(rest, syntax_.call_end);
  if (end == Match::kYes) {
    at_ = at + syntax_.call_end.size();
    return Step::kCall;
  }
  if (key == Match::kPartly || end == Match::kPartly) return Step::kMore;
  const bool is_typed = syntax_.has_type_first && call_.name == "function";
  if (is_typed && is_name_byte(rest[0])) return enter(Phase::kTypedName, at);
  at_ = at;
  return Step::kFailed;
}

bool CallReader::is_known(std::string_view name) const {
  return std::ranges::any_of(tools_, [&](const KnownTool& tool) { return tool.name == name; });
}

// Bare JSON that cannot be a call any more: text need not wait for its end. `byte` comes behind
// `object`.
bool CallReader::is_hopeless(std::string_view object, char byte) {
  if (scanner_.is_in_text() || scanner_.depth() != 1) return false;
  if (!is_first_key_checked_ && byte == ':') {
    is_first_key_checked_ = true;
    const std::string key = read_json_string(trimmed(object.substr(1))).value_or("");
    return !is_name_key(key) && !is_arguments_key(key) && !is_one_of(key, {"type", "id"});
  }
  if (is_name_checked_ || byte != ',') return false;
  constexpr int kMaxMembers = 8;  // before the name
  if (++num_members_ > kMaxMembers) return true;
  const std::string so_far = std::string(object) + "}";
  const auto members = read_json_members(so_far);
  if (!members) return true;
  for (const JsonMember& member : *members) {
    if (!is_name_key(member.key) || member.value.starts_with('{')) continue;
    is_name_checked_ = true;
    return !is_known(read_json_string(member.value).value_or(""));
  }
  return false;
}

CallReader::Step CallReader::read_object(std::string_view input) {
  while (at_ < input.size()) {
    const char byte = input[at_];
    if (is_hopeless(input.substr(begin_, at_ - begin_), byte)) return Step::kFailed;
    const JsonScanner::Status status = scanner_.push(byte);
    if (status == JsonScanner::Status::kBad) return Step::kFailed;
    ++at_;
    if (status == JsonScanner::Status::kDone) {
      return end_object(input.substr(begin_, at_ - begin_));
    }
  }
  return Step::kMore;
}

CallReader::Step CallReader::end_object(std::string_view object) {
  if (!is_call_object_) {
    call_.arguments = object;
    return Step::kCall;
  }
  call_ = {};
  const bool is_call = read_call_object(object, call_) && (!is_bare_ || is_known(call_.name));
  return is_call ? Step::kCall : Step::kFailed;
}

CallReader::Step CallReader::read_key(std::string_view input) {
  const size_t longest = kMaxNameBytes + syntax_.key_end.size();
  const std::string_view rest = input.substr(begin_, longest);
  const size_t end = std::min(rest.find(syntax_.key_end), kMaxNameBytes + 1);
  if (end > kMaxNameBytes && rest.size() < longest) return Step::kMore;
  const std::string_view key = trimmed(rest.substr(0, end));
  if (end > kMaxNameBytes || key.empty() || key.find(kControlFrame) != std::string_view::npos) {
    at_ = begin_ + std::min(end, kMaxNameBytes);
    return Step::kFailed;
  }
  key_ = key;
  return enter(Phase::kValue, begin_ + end + syntax_.key_end.size());
}

CallReader::Step CallReader::read_value(std::string_view input) {
  size_t begin = begin_;
  if (!syntax_.value_begin.empty()) {
    begin += count_white(input.substr(begin));
    const Match found = match(input.substr(begin), syntax_.value_begin);
    if (found == Match::kPartly) return Step::kMore;
    if (found == Match::kNo) {
      at_ = begin;
      return Step::kFailed;
    }
    begin += syntax_.value_begin.size();
  }
  const size_t overlap = syntax_.value_end.size() - 1;
  const size_t from = std::max(begin, at_ > overlap ? at_ - overlap : 0);
  const size_t end = input.find(syntax_.value_end, from);
  const size_t frame = input.substr(from, end - from).find(kControlFrame);
  if (frame != std::string_view::npos) {
    at_ = from + frame;
    return Step::kFailed;
  }
  if (end == std::string_view::npos) {
    at_ = input.size();
    return Step::kMore;
  }
  add_value(input.substr(begin, end - begin));
  return enter(Phase::kArguments, end + syntax_.value_end.size());
}

void CallReader::add_value(std::string_view text) {
  if (text.starts_with('\n')) text.remove_prefix(1);
  if (text.ends_with('\n')) text.remove_suffix(1);
  bool is_text = false;
  for (const KnownTool& tool : tools_) {
    if (tool.name != call_.name) continue;
    for (const auto& [name, is_text_parameter] : tool.parameters) {
      if (name == key_) is_text = is_text_parameter;
    }
  }
  std::string_view value = trimmed(text);
  if (value == "True") value = "true";
  if (value == "False") value = "false";
  if (value == "None") value = "null";
  std::string& json = call_.arguments;
  json.pop_back();  // the brace
  if (json.size() > 1) json += ", ";
  append_json_string(json, key_);
  json += ": ";
  if (!is_text && is_json(value)) {
    json += value;
  } else {
    append_json_string(json, text);
  }
  json += '}';
}

CallReader::Step CallReader::read_python(std::string_view input) {
  for (; at_ < input.size(); ++at_) {
    const char byte = input[at_];
    if (byte == kControlFrame) return Step::kFailed;
    if (is_in_string_ && byte == '\\') {
      if (at_ + 1 == input.size()) return Step::kMore;
      ++at_;
    } else if (byte == '"') {
      is_in_string_ = !is_in_string_;
    } else if (!is_in_string_ && byte == ')') {
      ++at_;
      call_.arguments = read_python_arguments(input.substr(begin_, at_ - 1 - begin_));
      return call_.arguments.empty() ? Step::kFailed : Step::kCall;
    }
  }
  return Step::kMore;
}

}  // namespace sluice::text::reply
