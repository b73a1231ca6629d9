// Speed of the tokenizer: MB/s of encoding for several kinds of text, time to load, and time for
// long texts without any place to cut. Processor time of one core, so that neighbours disturb less.
//
//   bench_tokenizer MODEL.gguf [PROSE.txt]
//   bench_tokenizer MODEL.gguf --lines FILE    ids of each line, for
//   tests/tools/compare_tokenizers.py
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <exception>
#include <fstream>
#include <iterator>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "gguf/file.h"
#include "text/tokenizer.h"

namespace {

using Clock = std::chrono::steady_clock;
using sluice::text::Tokenizer;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

std::string read_file(const char* path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) throw std::runtime_error(std::string("cannot open ") + path);
  return {std::istreambuf_iterator<char>(in), {}};
}

std::string repeat(std::string_view unit, size_t size_bytes) {
  std::string text;
  while (text.size() < size_bytes) text += unit;
  return text;
}

// Sentences of common words, with the punctuation, names and numbers of ordinary text.
std::string make_prose(size_t size_bytes) {
  const std::vector<std::string> words = {
      "the",     "of",     "and",       "a",        "to",       "in",        "is",       "was",
      "that",    "for",    "river",     "mountain", "evening",  "sometimes", "language", "because",
      "quietly", "garden", "Elizabeth", "remember", "question", "children",  "window",   "London",
      "machine", "slowly", "beautiful", "answered", "nothing",  "letters",   "though",   "it"};
  std::mt19937 random(1);
  std::string text;
  while (text.size() < size_bytes) {
    const size_t length = 6 + random() % 14;
    for (size_t i = 0; i < length; ++i) {
      text += i == 0 ? "" : random() % 9 == 0 ? ", " : " ";
      text += random() % 40 == 0 ? std::to_string(random() % 3000) : words[random() % words.size()];
    }
    text += random() % 6 == 0 ? ".\n\n" : random() % 5 == 0 ? "? " : ". ";
  }
  return text;
}

std::string make_code(size_t size_bytes) {
  return repeat(
      "static int count_items(const struct list *head, unsigned flags)\n{\n\tint total = 0;\n"
      "\tfor (const struct node *n = head->first; n != NULL; n = n->next) {\n"
      "\t\tif ((n->flags & flags) == 0x1F && n->value[total % 16] >= 1024)\n"
      "\t\t\ttotal += (int)strlen(n->name) * 2;  /* padded */\n\t}\n\treturn total;\n}\n\n",
      size_bytes);
}

void measure(const Tokenizer& tokenizer, const char* name, const std::string& text) {
  tokenizer.encode(text);
  int rounds = 0;
  size_t count = 0;
  double seconds = 0;
  const std::clock_t start = std::clock();
  while (rounds == 0 || seconds < 0.4) {
    count = tokenizer.encode(text).size();
    seconds = static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
    ++rounds;
  }
  const double rate = static_cast<double>(text.size()) * rounds / seconds / 1e6;
  std::printf("%-22s %8.1f MB/s   %5.2f bytes a token\n", name, rate,
              static_cast<double>(text.size()) / static_cast<double>(count));
}

void print_lines(const Tokenizer& tokenizer, const std::string& text) {
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    for (const auto id : tokenizer.encode(std::string_view(text).substr(begin, end - begin))) {
      std::printf("%d ", id);
    }
    std::printf("\n");
    begin = end + 1;
  }
}

void run_all(const Tokenizer& tokenizer, const std::string& prose) {
  constexpr size_t kSize = 1'000'000;
  measure(tokenizer, "prose", prose);
  measure(tokenizer, "code", make_code(kSize));
  measure(tokenizer, "Chinese",
          repeat("床前明月光，疑是地上霜。举头望明月，低头思故乡。今天天气很好，我们去公园散步吧！",
                 kSize));
  measure(
      tokenizer, "Russian",
      repeat("Все счастливые семьи похожи друг на друга, каждая несчастлива по-своему. ", kSize));
  measure(tokenizer, "1 MB of 'a'", std::string(kSize, 'a'));
  measure(tokenizer, "1 MB of spaces", std::string(kSize, ' '));
  measure(tokenizer, "1 MB of spaces, a word", std::string(kSize, ' ') + "x");
  measure(tokenizer, "1 MB of digits", repeat("3141592653", kSize));
  measure(tokenizer, "1 MB of line feeds", std::string(kSize, '\n'));
  measure(tokenizer, "1 MB of 0xFF", std::string(kSize, '\xFF'));
  std::mt19937 random(2);
  std::string letters(kSize, 'a');
  for (char& c : letters) c = static_cast<char>('a' + random() % 26);
  measure(tokenizer, "1 MB, one random word", letters);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: bench_tokenizer MODEL.gguf [PROSE.txt | --lines FILE]\n");
    return 2;
  }
  try {
    const auto start = Clock::now();
    const auto file = sluice::gguf::File::open(argv[1]);
    const double open_ms = seconds_since(start) * 1e3;
    const std::unique_ptr<Tokenizer> tokenizer = Tokenizer::from_gguf(file);
    const double load_ms = seconds_since(start) * 1e3 - open_ms;
    if (argc > 3 && std::string_view(argv[2]) == "--lines") {
      print_lines(*tokenizer, read_file(argv[3]));
      return 0;
    }
    std::printf("%s: %zu tokens, file opened in %.1f ms, tokenizer made in %.1f ms\n", argv[1],
                tokenizer->vocab_size(), open_ms, load_ms);
    run_all(*tokenizer, argc > 2 ? read_file(argv[2]) : make_prose(1'000'000));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "bench_tokenizer: %s\n", error.what());
    return 1;
  }
}
