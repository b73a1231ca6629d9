#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

// What a load test sends when its user brings it: a file of prompts, or lengths.
namespace sluice::measure {

struct Prompt {
  std::string text;
  std::optional<int> max_tokens = {};  // of its reply, where the file says so
};

constexpr uint64_t kMaxPromptFileBytes = 1u << 30;

// A prompt a line: a JSON string, an object with "prompt" (or "text", or the last user's "content"
// of "messages") and perhaps "max_tokens" (or "output_length"), or plain text. Empty lines do not
// count. Throws Error: kInvalidArgument naming the line for broken JSON, objects without a prompt
// and files without one; what read_small_file() throws.
std::vector<Prompt> read_prompts(const std::string& path);
std::vector<Prompt> parse_prompts(std::string_view text, const std::string& name);

// A number of tokens, drawn anew for each request.
struct LengthSpec {
  enum class Kind { kFixed, kUniform, kNormal };
  Kind kind = Kind::kFixed;
  double first = 0;   // the length; the least; the mean
  double second = 0;  // the most; the deviation

  std::string text() const;
};
// "512", "100-900" (each as likely), "512~128" (normal: mean and deviation). At most 1,000,000
// tokens. Throws Error(kInvalidArgument) naming `what`.
LengthSpec parse_length(std::string_view text, const std::string& what);
// From two times 64 random bits; at least 1. The same on every machine.
int draw_length(const LengthSpec& spec, uint64_t bits, uint64_t more_bits);

}  // namespace sluice::measure
