// What structured output costs: time to compile, and to find a token's mask and take the token,
// on a vocabulary of 128,000 tokens or a model's own.
//
//   bench_grammar [MODEL.gguf]
//   bench_grammar --walk    reads {"schema", "instances", "walks"} a line and writes {"error"} or
//                           {"accepts", "texts"}, for tests/tools/check_schemas.py
#include <algorithm>
#include <cstdio>
#include <exception>
#include <iostream>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "gguf/file.h"
#include "grammar/compiler.h"
#include "grammar/json_rules.h"
#include "grammar/test_vocabulary.h"
#include "timing.h"

namespace {

using namespace sluice;
using grammar::Compiler;
using grammar::Grammar;
using grammar::Matcher;
using grammar::SourceKind;
using text::TokenId;

struct Example {
  const char* name;
  SourceKind kind;
  std::string source;
  std::string text;
};

std::vector<Example> examples() {
  const std::string person =
      R"({"type":"object","properties":{"name":{"type":"string"},"age":{"type":"integer"},
      "email":{"type":"string","format":"email"},"tags":{"type":"array","items":{"type":"string"}},
      "address":{"type":"object","properties":{"street":{"type":"string"},"city":{"type":"string"},
      "zip":{"type":"string","pattern":"^[0-9]{5}$"}},"required":["street","city","zip"]}},
      "required":["name","age","tags","address"]})";
  const std::string people = R"({"type":"array","items":)" + person + "}";
  const std::string one =
      R"({"name": "Elizabeth the sentence", "age": 42, "email": "e.b@example.com",)"
      R"( "tags": ["an ordinary sentence", "日本語", "a \"quoted\" word"],)"
      R"( "address": {"street": "hello world 12", "city": "name", "zip": "12345"}})";
  std::string many = "[";
  for (int i = 0; i < 8; ++i) many += (i > 0 ? ", " : "") + one;
  many += "]";
  std::string choices = R"({"type":"array","items":{"enum":[)";
  for (int i = 0; i < 500; ++i) {
    choices += (i > 0 ? "," : "") + std::string("\"choice ") + std::to_string(i * 37) + "\"";
  }
  choices += "]}}";
  return {
      {"JSON mode", SourceKind::kJsonObject, "", one},
      {"schema, object", SourceKind::kJsonSchema, person, one},
      {"schema, list of objects", SourceKind::kJsonSchema, people, many},
      {"schema, maxLength", SourceKind::kJsonSchema,
       R"({"type":"array","items":{"type":"string","minLength":5,"maxLength":200}})",
       R"(["hello world hello world", "an ordinary sentence and another ordinary sentence"])"},
      {"schema, pattern", SourceKind::kJsonSchema,
       R"({"type":"array","items":{"type":"string","pattern":"^[a-z ]{3,80}$"}})",
       R"(["hello world hello world", "an ordinary sentence and another ordinary sentence"])"},
      {"schema, 500 choices", SourceKind::kJsonSchema, choices,
       R"(["choice 37", "choice 74", "choice 18463"])"},
      {"GBNF", SourceKind::kGbnf,
       "root ::= sum \"\\n\"\nsum ::= term (\" + \" term)*\nterm ::= [0-9]+ | \"(\" sum \")\"",
       "12 + (34 + 5) + ((123 + 12) + 00) + 12345\n"},
  };
}

std::vector<std::string_view> tokens_of(const text::Tokenizer& tokenizer) {
  std::vector<std::string_view> tokens;
  for (size_t t = 0; t < tokenizer.vocab_size(); ++t) {
    tokens.push_back(tokenizer.token_bytes(static_cast<TokenId>(t)));
  }
  return tokens;
}

// A text in tokens, each as long as can be.
std::vector<std::string_view> cut(std::vector<std::string_view> sorted, std::string_view text) {
  std::vector<std::string_view> result;
  while (!text.empty()) {
    size_t size = std::min<size_t>(text.size(), 32);
    while (size > 1 && !std::binary_search(sorted.begin(), sorted.end(), text.substr(0, size))) {
      --size;
    }
    result.push_back(text.substr(0, size));
    text.remove_prefix(size);
  }
  return result;
}

double percentile(std::vector<double> times, double share) {
  std::sort(times.begin(), times.end());
  return 1e6 * times[std::min(times.size() - 1, static_cast<size_t>(share * double(times.size())))];
}

void follow(const Grammar& grammar, const std::vector<std::string_view>& tokens,
            std::vector<uint32_t>& mask, std::vector<double>& times) {
  Matcher matcher(grammar);
  for (const std::string_view token : tokens) {
    const double begin = bench::now();
    matcher.fill_mask(mask);
    if (!matcher.accept(token)) throw std::runtime_error("refused: " + std::string(token));
    times.push_back(bench::now() - begin);
  }
}

void measure(const text::Tokenizer& tokenizer) {
  std::vector<std::string_view> sorted = tokens_of(tokenizer);
  std::sort(sorted.begin(), sorted.end());
  std::vector<uint32_t> mask((tokenizer.vocab_size() + 31) / 32);
  double begin = bench::now();
  const auto table = std::make_shared<const grammar::TokenTable>(tokenizer);
  std::printf("%zu tokens, table %.0f ms\n\n", tokenizer.vocab_size(),
              1e3 * (bench::now() - begin));
  std::printf("%-26s %9s %7s | %28s | %19s\n", "", "compile", "tokens",
              "first time: p50 p99 max us", "again: p50 p99 us");
  for (const Example& example : examples()) {
    begin = bench::now();
    Work work;
    const auto made = std::make_shared<grammar::Automaton>(
        grammar::compile_rules({example.kind, example.source}, work), table);
    const double compile_time = bench::now() - begin;
    const std::vector<std::string_view> tokens = cut(sorted, example.text);
    std::vector<double> first, again;
    follow(made, tokens, mask, first);
    for (int i = 0; i < 20; ++i) follow(made, tokens, mask, again);
    std::printf("%-26s %6.1f ms %7zu | %8.1f %8.1f %10.1f | %9.2f %9.2f\n", example.name,
                1e3 * compile_time, tokens.size(), percentile(first, 0.5), percentile(first, 0.99),
                percentile(first, 1), percentile(again, 0.5), percentile(again, 0.99));
  }
}

// A text that follows the masks; what ends something is preferred now and then, later always.
std::string random_text(const Grammar& grammar, const text::Tokenizer& tokenizer,
                        std::mt19937& random) {
  Matcher matcher(grammar);
  std::vector<uint32_t> mask((tokenizer.vocab_size() + 31) / 32);
  std::string text;
  for (int i = 0; i < 20'000; ++i) {
    matcher.fill_mask(mask);
    std::vector<TokenId> allowed, closing;
    for (size_t t = 0; t < tokenizer.vocab_size(); ++t) {
      if (!(mask[t / 32] >> t % 32 & 1)) continue;
      const auto token = static_cast<TokenId>(t);
      const std::string_view bytes = tokenizer.token_bytes(token);
      allowed.push_back(token);
      if (bytes.empty() || bytes == "\"" || bytes == "}" || bytes == "]") closing.push_back(token);
    }
    if (allowed.empty()) throw std::runtime_error("nothing may follow " + text);
    const bool closes = !closing.empty() && random() % 3 == 0;
    const std::vector<TokenId>& from = closes ? closing : allowed;
    const TokenId token = from[random() % from.size()];
    if (tokenizer.is_end_of_generation(token)) return text;
    matcher.accept(tokenizer.token_bytes(token));
    text += tokenizer.token_bytes(token);
  }
  throw std::runtime_error("a text without end");
}

grammar::Json answer(const grammar::Json& line, const text::Tokenizer& tokenizer,
                     Compiler& compiler, std::mt19937& random) {
  grammar::Json reply;
  try {
    Work work;
    const Grammar grammar =
        compiler.compile({SourceKind::kJsonSchema, line.at("schema").dump()}, work);
    reply["accepts"] = grammar::Json::array();
    for (const grammar::Json& instance : line.at("instances")) {
      Matcher matcher(grammar);
      reply["accepts"].push_back(matcher.accept(instance.dump()) && matcher.is_complete());
    }
    reply["texts"] = grammar::Json::array();
    for (int i = 0; i < line.at("walks").get<int>(); ++i) {
      reply["texts"].push_back(random_text(grammar, tokenizer, random));
    }
  } catch (const std::exception& error) {
    reply = {{"error", error.what()}};
  }
  return reply;
}

void walk() {
  const auto tokenizer = grammar::testing::make_tokenizer(grammar::testing::common_words());
  Compiler compiler(*tokenizer);
  std::mt19937 random(1);
  for (std::string line; std::getline(std::cin, line);) {
    std::cout << answer(grammar::Json::parse(line), *tokenizer, compiler, random).dump() << "\n";
  }
}

}  // namespace

int main(int argc, char** argv) {
  try {
    if (argc > 1 && argv[1] == std::string_view("--walk")) {
      walk();
    } else if (argc > 1) {
      measure(*text::Tokenizer::from_gguf(gguf::File::open(argv[1])));
    } else {
      measure(*grammar::testing::make_tokenizer(grammar::testing::many_words(128'000)));
    }
  } catch (const std::exception& error) {
    std::fprintf(stderr, "bench_grammar: %s\n", error.what());
    return 1;
  }
}
