#pragma once

#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "base/work.h"
#include "grammar/grammar.h"
#include "text/tokenizer.h"

namespace sluice::grammar {

enum class SourceKind {
  kJsonObject,
  kJsonSchema,
  kRegex,
  kGbnf,
  kLiteral,   // the text itself
  kUntil,     // any text, then `text` for the first time; control tokens in `text` only
  kSequence,  // `parts`, one behind the other
  kChoice,    // one of them
  kMany,      // the first, once or more, with the second between them
};

// What a text has to be. Of kJsonObject there is no more to say. In literals control tokens stand
// in frames (text/reply_format.h).
struct Source {
  SourceKind kind = SourceKind::kJsonObject;
  std::string text = {};
  std::vector<Source> parts = {};
  // Written out: Clang 14 cannot default the comparison of a type that holds a vector of itself.
  bool operator<(const Source& other) const {
    return std::tie(kind, text, parts) < std::tie(other.kind, other.text, other.parts);
  }
};

// Makes grammars for one vocabulary and keeps the latest. Safe to use from several threads; not
// for the engine's: a schema may take some hundred milliseconds, the first one more.
class Compiler {
 public:
  // `tokenizer` must outlive it.
  explicit Compiler(const text::Tokenizer& tokenizer) : tokenizer_(&tokenizer) {}

  // Throws Error: kInvalidArgument for what is not of its kind, kUnsupported naming what cannot be
  // honoured or is too large, and what `work` throws, to which all of it is charged.
  Grammar compile(const Source& source, Work& work);

 private:
  struct Kept {
    Source source;
    Grammar grammar;
  };
  using List = std::list<Kept>;

  std::shared_ptr<const TokenTable> tokens();
  void keep(const Source& source, const Grammar& grammar);

  const text::Tokenizer* tokenizer_;
  std::once_flag made_tokens_;
  std::shared_ptr<const TokenTable> tokens_;
  std::mutex mutex_;
  List kept_;  // the latest used first
  std::map<Source, List::iterator> by_source_;
};

// The rules of a source. Throws as Compiler::compile().
Rules compile_rules(const Source& source, Work& work);

}  // namespace sluice::grammar
