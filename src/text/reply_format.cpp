#include "text/reply_format.h"

#include <algorithm>
#include <initializer_list>

namespace sluice::text {
namespace {

// Finds out how a template's model writes, by the markers that the template has.
class FormatFinder {
 public:
  FormatFinder(std::string_view source, const IsControl& is_control)
      : source_(source), is_control_(is_control) {}

  ReplyFormat find() {
    if (has({"<|channel|>", "<|message|>", "<|start|>"})) {
      format_.is_harmony = true;
      return format_;
    }
    find_thinking();
    find_calls();
    if (has({"length 9"}) || has({"length != 9"})) format_.call_id_size = 9;
    return format_;
  }

 private:
  bool has(std::initializer_list<std::string_view> texts) const {
    return std::ranges::all_of(
        texts, [&](std::string_view text) { return source_.find(text) != std::string_view::npos; });
  }
  // As it stands in a reply.
  std::string marker(std::string_view text) const {
    return is_control_(text) ? frame_control(text) : std::string(text);
  }

  void find_thinking() {
    constexpr std::string_view kPairs[][2] = {
        {"<think>", "</think>"},
        {"[THINK]", "[/THINK]"},
        {"<seed:think>", "</seed:think>"},
        {"<|START_THINKING|>", "<|END_THINKING|>"},
    };
    for (const auto& [open, close] : kPairs) {
      if (!has({open, close})) continue;
      format_.think_open = marker(open);
      format_.think_close = marker(close);
      return;
    }
  }

  void take_objects(std::string_view open, std::string_view close) {
    CallSyntax& calls = format_.calls;
    calls.opens = {marker(open)};
    if (!close.empty()) calls.closes = {marker(close)};
    calls.takes_objects = true;
  }

  // <function=NAME><parameter=KEY>VALUE</parameter></function> within a block.
  void take_elements() {
    CallSyntax& calls = format_.calls;
    calls.takes_names = true;
    calls.call_begin = "<function=";
    calls.name_end = ">";
    calls.key_begin = "<parameter=";
    calls.key_end = ">";
    calls.value_end = "</parameter>";
    calls.call_end = "</function>";
    calls.opens.push_back(calls.call_begin);  // some models forget the block
    calls.pad = "\n";
  }

  void find_calls() {
    if (has({"<｜tool▁calls▁begin｜>", "<｜tool▁sep｜>"})) return take_deepseek();
    if (has({"<|tool_calls_section_begin|>"})) return take_kimi();
    if (has({"[TOOL_CALLS]"})) return take_mistral();
    if (has({"<minimax:tool_call>"})) return take_minimax();
    if (has({"<seed:tool_call>"})) {
      take_objects("<seed:tool_call>", "</seed:tool_call>");
      return take_elements();
    }
    if (has({"<tool_call>"})) return take_hermes();
    if (has({"<function=", "</function>"})) return take_functionary();
    constexpr std::string_view kObjects[][2] = {
        {"<|tool_call|>", "<|/tool_call|>"},     // Granite 3, Phi 4
        {"<TOOLCALL>", "</TOOLCALL>"},           // Nemotron
        {"<tool_calls>", "</tool_calls>"},       // MiniMax M1, Apriel
        {"<|START_ACTION|>", "<|END_ACTION|>"},  // Command R
        {"functools", ""},                       // Firefunction
    };
    for (const auto& [open, close] : kObjects) {
      if (!has({open})) continue;
      take_objects(open, close);
      format_.calls.writes_array = true;
      return;
    }
    if (has({"tool_call"}) || has({"tools"}) || has({".Tools"})) take_llama();
  }

  void take_hermes() {
    take_objects("<tool_call>", "</tool_call>");
    format_.calls.pad = "\n";
    if (has({"<function="})) take_elements();
    if (!has({"<arg_key>"})) return;
    CallSyntax& calls = format_.calls;  // GLM
    calls.takes_names = true;
    calls.key_begin = "<arg_key>";
    calls.key_end = "</arg_key>";
    calls.value_begin = "<arg_value>";
    calls.value_end = "</arg_value>";
    calls.call_end = marker("</tool_call>");
    calls.closes.clear();
    calls.call_begin.clear();
    calls.pad.clear();
  }

  void take_mistral() {
    take_objects("[TOOL_CALLS]", "");
    CallSyntax& calls = format_.calls;
    calls.separator.clear();
    calls.takes_names = has({"[ARGS]"});
    if (!calls.takes_names) {
      calls.writes_array = true;
      return;
    }
    calls.id_begin = marker("[CALL_ID]");
    calls.name_end = calls.argument_prefix = marker("[ARGS]");
  }

  void take_deepseek() {
    CallSyntax& calls = format_.calls;
    calls.opens = {marker("<｜tool▁calls▁begin｜>")};
    calls.closes = {marker("<｜tool▁calls▁end｜>")};
    calls.fillers = {"```json", "```", marker("<｜tool▁call▁end｜>")};
    calls.takes_names = true;
    calls.has_type_first = has({"```json"});
    calls.name_prefix = calls.has_type_first ? "function" + marker("<｜tool▁sep｜>") : "";
    calls.argument_prefix = calls.has_type_first ? "\n```json\n" : marker("<｜tool▁sep｜>");
    calls.item_end = (calls.has_type_first ? "\n```" : "") + marker("<｜tool▁call▁end｜>");
    calls.separator = calls.has_type_first ? "\n" : "";
    calls.call_begin = marker("<｜tool▁call▁begin｜>");
    calls.name_end = marker("<｜tool▁sep｜>");
    calls.repeats_open = false;
  }

  void take_kimi() {
    CallSyntax& calls = format_.calls;
    calls.opens = {marker("<|tool_calls_section_begin|>")};
    calls.closes = {marker("<|tool_calls_section_end|>")};
    calls.fillers = {marker("<|tool_call_end|>")};
    calls.takes_names = true;
    calls.call_begin = marker("<|tool_call_begin|>");
    calls.name_end = marker("<|tool_call_argument_begin|>");
    calls.name_prefix = "functions.";
    calls.name_suffix = ":[0-9]";
    calls.argument_prefix = calls.name_end;
    calls.item_end = marker("<|tool_call_end|>");
    calls.separator.clear();
    calls.repeats_open = false;
  }

  void take_minimax() {
    CallSyntax& calls = format_.calls;
    calls.opens = {marker("<minimax:tool_call>")};
    calls.closes = {marker("</minimax:tool_call>")};
    calls.takes_names = true;
    calls.call_begin = "<invoke name=\"";
    calls.name_end = "\">";
    calls.key_begin = "<parameter name=\"";
    calls.key_end = "\">";
    calls.value_end = "</parameter>";
    calls.call_end = "</invoke>";
    calls.repeats_open = false;
  }

  // <function=NAME>{JSON}</function>
  void take_functionary() {
    CallSyntax& calls = format_.calls;
    calls.opens = {"<function="};
    calls.fillers = {"</function>"};
    calls.takes_names = true;
    calls.name_end = calls.argument_prefix = ">";
    calls.item_end = "</function>";
    calls.separator.clear();
  }

  // {"name": .., "parameters": ..} as the whole reply, or behind <|python_tag|>, where the tools
  // that Meta trained it with are called as Python does. Models that nothing is known of, too.
  void take_llama() {
    CallSyntax& calls = format_.calls;
    calls.may_be_bare = true;
    calls.takes_objects = true;
    calls.is_single = true;
    calls.arguments_key =
        has({"\"arguments\""}) && !has({"\"parameters\""}) ? "arguments" : "parameters";
    if (!has({"<|python_tag|>"}) && !is_control_("<|python_tag|>")) return;
    calls.opens = {marker("<|python_tag|>")};
    calls.takes_names = true;
    calls.has_python_arguments = true;
    calls.name_end = ".call(";
  }

  std::string_view source_;
  const IsControl& is_control_;
  ReplyFormat format_;
};

}  // namespace

std::string frame_control(std::string_view token_text) {
  std::string framed;
  framed += kControlFrame;
  framed += token_text;
  framed += kControlFrame;
  return framed;
}

ReplyFormat find_reply_format(std::string_view chat_template, const IsControl& is_control) {
  return FormatFinder(chat_template, is_control).find();
}

}  // namespace sluice::text
