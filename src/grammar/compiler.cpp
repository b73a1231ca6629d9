#include "grammar/compiler.h"

#include "grammar/gbnf.h"
#include "grammar/json_schema.h"
#include "grammar/regex.h"
#include "text/reply_format.h"

namespace sluice::grammar {
namespace {

constexpr size_t kMaxKept = 128;
constexpr size_t kMaxKeptBytes = 64u << 20;  // with what the kept ones have found out in use

// Any bytes up to the first `text`, and that: the automaton of Knuth, Morris and Pratt.
Dfa until_dfa(std::string_view text, Work& work) {
  const auto size = static_cast<int>(text.size());
  Nfa nfa(work);
  std::vector<int> failure(text.size() + 1, 0);
  for (int i = 0; i <= size; ++i) nfa.add_state();
  for (size_t i = 1, length = 0; i < text.size(); ++i) {
    while (length > 0 && text[i] != text[length]) length = static_cast<size_t>(failure[length]);
    if (text[i] == text[length]) ++length;
    failure[i + 1] = static_cast<int>(length);
  }
  const auto add_step = [&](int state, char byte, int to) {
    nfa.add_step(state, {static_cast<uint8_t>(byte), static_cast<uint8_t>(byte)}, to);
  };
  bool is_in_frame = false;
  for (int state = 0; state < size; ++state) {
    const char wanted = text[static_cast<size_t>(state)];
    add_step(state, wanted, state + 1);
    for (int code = 0; code < 256 && !is_in_frame; ++code) {
      const char byte = static_cast<char>(code);
      if (byte == wanted || byte == text::kControlFrame) continue;
      int from = state;
      while (from > 0 && text[static_cast<size_t>(from)] != byte) {
        from = failure[static_cast<size_t>(from)];
      }
      add_step(state, byte, text[static_cast<size_t>(from)] == byte ? from + 1 : from);
    }
    is_in_frame = is_in_frame != (wanted == text::kControlFrame);
  }
  return Dfa::from_nfa(nfa, size);
}

NodeId add_source(RulesBuilder& builder, const Source& source);

std::vector<NodeId> add_parts(RulesBuilder& builder, const Source& source) {
  std::vector<NodeId> nodes;
  for (const Source& part : source.parts) nodes.push_back(add_source(builder, part));
  return nodes;
}

NodeId add_many(RulesBuilder& builder, const Source& source) {
  const std::vector<NodeId> parts = add_parts(builder, source);
  const NodeId more = builder.sequence({parts.at(1), parts.at(0)});
  return builder.sequence({parts.at(0), builder.repeat(more, 0, kNoLimit)});
}

// Sources are ours, of few levels.
NodeId add_source(RulesBuilder& builder, const Source& source) {
  switch (source.kind) {
    case SourceKind::kJsonObject:
      return add_json_object(builder);
    case SourceKind::kJsonSchema:
      return add_json_schema(builder, source.text);
    case SourceKind::kRegex:
      return builder.regular(whole_dfa(source.text, CharSpelling::kPlain, builder.work()));
    case SourceKind::kGbnf:
      return add_gbnf(builder, source.text);
    case SourceKind::kLiteral:
      return source.text.empty() ? builder.empty() : builder.literal(source.text);
    case SourceKind::kUntil:
      return builder.regular(until_dfa(source.text, builder.work()));
    case SourceKind::kSequence:
      return builder.sequence(add_parts(builder, source));
    case SourceKind::kChoice:
      return builder.choice(add_parts(builder, source));
    case SourceKind::kMany:
      return add_many(builder, source);
  }
  return builder.empty();
}

size_t size_of(const Source& source) {
  size_t size = sizeof source + source.text.size();
  for (const Source& part : source.parts) size += size_of(part);
  return size;
}

}  // namespace

Rules compile_rules(const Source& source, Work& work) {
  RulesBuilder builder(work);
  return builder.build(add_source(builder, source));
}

std::shared_ptr<const TokenTable> Compiler::tokens() {
  std::call_once(made_tokens_, [&] { tokens_ = std::make_shared<TokenTable>(*tokenizer_); });
  return tokens_;
}

Grammar Compiler::compile(const Source& source, Work& work) {
  {
    std::lock_guard lock(mutex_);
    const auto found = by_source_.find(source);
    if (found != by_source_.end()) {
      kept_.splice(kept_.begin(), kept_, found->second);
      return kept_.front().grammar;
    }
  }
  auto grammar = std::make_shared<Automaton>(compile_rules(source, work), tokens());
  work.check();
  keep(source, grammar);
  return grammar;
}

void Compiler::keep(const Source& source, const Grammar& grammar) {
  std::lock_guard lock(mutex_);
  if (by_source_.contains(source)) return;
  kept_.push_front({source, grammar});
  by_source_.emplace(source, kept_.begin());
  size_t num_bytes = 0, num_kept = 0;
  for (auto it = kept_.begin(); it != kept_.end();) {
    num_bytes += size_of(it->source) * 2 + it->grammar->size_bytes();
    const bool fits = ++num_kept <= kMaxKept && num_bytes <= kMaxKeptBytes;
    if (fits || it == kept_.begin()) {
      ++it;
      continue;
    }
    by_source_.erase(it->source);
    it = kept_.erase(it);
  }
}

}  // namespace sluice::grammar
