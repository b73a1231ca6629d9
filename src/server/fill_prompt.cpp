#include "server/fill_prompt.h"

#include <algorithm>

namespace sluice::server {
namespace {

constexpr size_t kNumFillTokens = 3;

// How many tokens of two texts fit into `room`: the end of the first, the beginning of the second.
std::pair<size_t, size_t> share_room(size_t prefix, size_t suffix, size_t room) {
  const size_t suffix_part = std::min(suffix, std::max(room / 4, room - std::min(room, prefix)));
  return {std::min(prefix, room - suffix_part), suffix_part};
}

}  // namespace

PreparedPrompt fill_prompt(const text::Tokenizer& tokenizer, const text::FillTokens& fill,
                           const api::GenerationRequest& request, int context_limit, bool may_cut,
                           Work& work) {
  const size_t least = tokenizer.least_num_tokens(request.prompt.size()) +
                       tokenizer.least_num_tokens(request.suffix.size());
  if (!may_cut && least >= static_cast<size_t>(context_limit)) {
    throw_too_long("at least " + std::to_string(least), context_limit);
  }
  // What a client sends is text, whatever it spells.
  const text::EncodeOptions plain{.add_special = false, .parse_special = false};
  const std::vector<text::TokenId> prefix = tokenizer.encode(request.prompt, plain, work);
  text::EncodeOptions going_on = plain;
  going_on.goes_on = true;
  const std::vector<text::TokenId> suffix = tokenizer.encode(request.suffix, going_on, work);
  PreparedPrompt prompt;
  if (tokenizer.adds_bos()) prompt.tokens.push_back(*tokenizer.bos());
  const size_t num_special = prompt.tokens.size() + kNumFillTokens;
  const size_t size = num_special + prefix.size() + suffix.size();
  const auto limit = static_cast<size_t>(context_limit - 1);
  // Half of the room is for the reply, where the texts must be cut at all.
  const size_t room =
      size <= limit ? size - num_special : limit / 2 - std::min(limit / 2, num_special);
  if (size > limit && (!may_cut || room == 0)) {
    throw_too_long(std::to_string(size), context_limit);
  }
  const auto [num_prefix, num_suffix] = share_room(prefix.size(), suffix.size(), room);
  prompt.tokens.push_back(fill.prefix);
  prompt.tokens.insert(prompt.tokens.end(), prefix.end() - static_cast<ptrdiff_t>(num_prefix),
                       prefix.end());
  prompt.tokens.push_back(fill.suffix);
  prompt.tokens.insert(prompt.tokens.end(), suffix.begin(),
                       suffix.begin() + static_cast<ptrdiff_t>(num_suffix));
  prompt.tokens.push_back(fill.middle);
  prompt.num_dropped_tokens =
      static_cast<int>(prefix.size() - num_prefix + suffix.size() - num_suffix);
  for (const auto& part : {tokenizer.token_text(fill.prefix), std::string_view(request.prompt),
                           tokenizer.token_text(fill.suffix), std::string_view(request.suffix),
                           tokenizer.token_text(fill.middle)}) {
    prompt.text += part;
  }
  return prompt;
}

}  // namespace sluice::server
