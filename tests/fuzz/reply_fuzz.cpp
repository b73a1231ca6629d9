#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "text/reply_parser.h"

namespace {

using sluice::text::kControlFrame;
using sluice::text::ReplyFormat;
using sluice::text::ReplyParser;
using sluice::text::ReplyPart;

// What tells each family's format.
constexpr std::string_view kTemplates[] = {
    "tools <tool_call></tool_call>",
    "tools <tool_call></tool_call><function= <think></think>",
    "tools <|python_tag|>",
    "[TOOL_CALLS] length != 9",
    "[TOOL_CALLS] [ARGS] [THINK][/THINK]",
    "<｜tool▁calls▁begin｜><｜tool▁sep｜>```json<think></think>",
    "<｜tool▁calls▁begin｜><｜tool▁sep｜><think></think>",
    "<|tool_calls_section_begin|>",
    "<|channel|><|message|><|start|>",
    "<think></think><tool_call><arg_key>",
    "<minimax:tool_call>",
    "<function=</function>",
    "tools <TOOLCALL>",
};

std::vector<ReplyPart> parse(const ReplyFormat& format, const sluice::text::ReplyContext& context,
                             std::string_view reply, size_t piece_size) {
  ReplyParser parser(format, context);
  std::vector<ReplyPart> parts;
  for (size_t at = 0; at < reply.size(); at += piece_size) {
    parser.push(reply.substr(at, piece_size), parts);
    if (parser.num_held_bytes() > ReplyParser::kMaxCallBytes + piece_size) std::abort();
  }
  parser.finish(parts);
  if (parser.num_held_bytes() != 0) std::abort();
  return parts;
}

}  // namespace

// Any reply of any family: nothing is lost, and however it is cut it has the same parts.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 3) return 0;
  constexpr size_t kNumTemplates = std::size(kTemplates);
  const bool has_controls = data[1] & 1;
  const ReplyFormat format = sluice::text::find_reply_format(
      kTemplates[data[0] % kNumTemplates], [&](std::string_view) { return has_controls; });
  sluice::text::ReplyContext context;
  if (data[1] & 2) context.tools = {{"f", {{"a", true}}}, {"g", {}}};
  if (data[1] & 4) context.prompt = data[1] & 8 ? "<think>\n" : "<|start|>assistant<|channel|>";
  const size_t piece_size = size_t{data[2]} + 1;
  const std::string_view reply(reinterpret_cast<const char*>(data + 3), size - 3);

  const auto whole = parse(format, context, reply, reply.size() + 1);
  std::string text, plain(reply);
  for (const ReplyPart& part : whole) text += part.text;
  std::erase(plain, kControlFrame);
  if (text != plain) std::abort();
  if (parse(format, context, reply, 1) != whole) std::abort();
  if (parse(format, context, reply, piece_size) != whole) std::abort();
  return 0;
}
