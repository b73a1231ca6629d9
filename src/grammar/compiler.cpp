#include "grammar/compiler.h"

#include "grammar/gbnf.h"
#include "grammar/json_schema.h"
#include "grammar/regex.h"

namespace sluice::grammar {
namespace {

constexpr size_t kMaxKept = 128;
constexpr size_t kMaxKeptBytes = 64u << 20;  // with what the kept ones have found out in use

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
  }
  return builder.empty();
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
    num_bytes += it->source.text.size() * 2 + it->grammar->size_bytes();
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
