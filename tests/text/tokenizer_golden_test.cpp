#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "gguf/file.h"
#include "gguf/writer.h"
#include "test_data.h"
#include "text/tokenizer.h"

// Ids of every line of golden/corpus.txt against the hashes of a reference's ids. The scripts in
// tests/tools (make_tokenizer_goldens.py, compare_tokenizers.py) made them.
namespace sluice::text {
namespace {

const std::string kGolden = test_data("text/golden/");

std::string read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  EXPECT_TRUE(in) << path;
  return {std::istreambuf_iterator<char>(in), {}};
}

std::vector<std::string> split_lines(const std::string& text) {
  std::vector<std::string> lines;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = text.find('\n', begin);
    lines.push_back(text.substr(begin, end - begin));
    begin = end == std::string::npos ? text.size() : end + 1;
  }
  return lines;
}

// FNV-1a over the ids as 32-bit little-endian numbers, in hexadecimal.
std::string hash_of(const std::vector<TokenId>& ids) {
  uint32_t hash = 0x811C9DC5;
  for (const TokenId id : ids) {
    for (int shift = 0; shift < 32; shift += 8) {
      hash = (hash ^ (static_cast<uint32_t>(id) >> shift & 0xFF)) * 0x01000193;
    }
  }
  char text[9];
  std::snprintf(text, sizeof(text), "%08x", hash);
  return text;
}

// The golden has a hash for each line ("-": not to be compared) and may have one for the whole.
void expect_golden(const Tokenizer& tokenizer, const std::string& golden,
                   const EncodeOptions& options) {
  const std::string corpus = read_file(kGolden + "corpus.txt");
  const std::vector<std::string> lines = split_lines(corpus);
  const std::vector<std::string> hashes = split_lines(read_file(kGolden + golden));
  ASSERT_GE(hashes.size(), lines.size());
  size_t num_different = 0;
  for (size_t i = 0; i < lines.size(); ++i) {
    if (hashes[i] == "-" || hash_of(tokenizer.encode(lines[i], options)) == hashes[i]) continue;
    if (++num_different <= 3) ADD_FAILURE() << golden << ", line " << i + 1 << ": " << lines[i];
  }
  EXPECT_EQ(num_different, 0u);
  if (hashes.size() > lines.size()) {
    EXPECT_EQ(hash_of(tokenizer.encode(corpus, options)), hashes[lines.size()]) << "whole file";
  }
}

std::unique_ptr<Tokenizer> load_with_pre(const std::string& path, const std::string& pre) {
  const gguf::File file = gguf::File::open(path);
  gguf::Writer writer;
  for (const auto& [key, value] : file.metadata()) {
    if (key != "tokenizer.ggml.pre") writer.copy(std::string(key), value);
  }
  writer.set_string("tokenizer.ggml.pre", pre);
  const std::vector<std::byte> bytes = writer.bytes();
  return Tokenizer::from_gguf(gguf::File::parse(bytes));
}

TEST(TokenizerGolden, ByteLevelIdsEqualThoseOfTheTokenizersLibrary) {
  for (const std::string pre : {"gpt-2", "smollm", "llama-bpe"}) {
    const auto tokenizer = load_with_pre(kGolden + "tokenizer_tiny_bytes.gguf", pre);
    expect_golden(*tokenizer, "tokenizer_tiny_bytes." + pre + ".txt", {});
  }
}

TEST(TokenizerGolden, PieceIdsEqualThoseOfTheSentencepieceLibrary) {
  const auto tokenizer =
      Tokenizer::from_gguf(gguf::File::open(kGolden + "tokenizer_tiny_pieces.gguf"));
  // sentencepiece never reads control tokens from the text.
  expect_golden(*tokenizer, "tokenizer_tiny_pieces.txt", {.parse_special = false});
}

// Goldens made with llama.cpp: every one whose vocabulary lies in the folder is checked.
void check_folder(const char* variable, const char* what) {
  const char* folder = std::getenv(variable);
  if (!folder) GTEST_SKIP() << variable << " does not name a folder with " << what << ".";
  int num_checked = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() != ".gguf") continue;
    const std::string golden = "tokenizer_" + entry.path().stem().string() + ".txt";
    if (!std::filesystem::exists(kGolden + golden)) continue;
    const auto tokenizer = Tokenizer::from_gguf(gguf::File::open(entry.path()));
    expect_golden(*tokenizer, golden, {});
    ++num_checked;
  }
  if (num_checked == 0) GTEST_SKIP() << "No vocabulary with goldens in " << folder << ".";
}

TEST(TokenizerGolden, VocabulariesOfManyFamiliesGiveTheReferencesIds) {
  check_folder("SLUICE_TEST_VOCABS", "ggml-vocab-*.gguf files");
}

TEST(TokenizerGolden, RealModelsGiveTheReferencesIds) {
  check_folder("SLUICE_TEST_MODELS", "smollm2-135m-q4_1.gguf and gemma3-270m-q4_k_m.gguf");
}

}  // namespace
}  // namespace sluice::text
