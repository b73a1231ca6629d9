#include <algorithm>
#include <iterator>

#include "text/pretokenizer.h"

// The families of tokenizer.ggml.pre and their regular expressions, as the models' tokenizer.json
// files publish them (and as the reference reads them where a file lost something).

namespace sluice::text {
namespace {

using Kind = Stage::Kind;
using Contractions = WordRule::Contractions;
using Words = WordRule::Words;
using Range = CharSet::Range;

constexpr Range kAsciiDigits[] = {{'0', '9'}};
constexpr Range kLineBreaks[] = {{'\n', '\n'}, {'\r', '\r'}};
constexpr Range kBlank[] = {{' ', ' '}};
constexpr Range kHanAndKana[] = {{0x3040, 0x30FF}, {0x4E00, 0x9FA5}};
// DeepSeek's "[一-龥ࠀ-一가-퟿]": everything from U+0800 on, in effect.
constexpr Range kDeepSeekCjk[] = {{0x0800, 0x9FA5}, {0xAC00, 0xD7FF}};
constexpr Range kDeepSeekLetters[] = {
    {0x41, 0x5A},       {0x61, 0x7A},       {0xB5, 0xB5},       {0xC0, 0xD6},
    {0xD8, 0xF6},       {0xF8, 0x1BA},      {0x1BC, 0x1BF},     {0x1C4, 0x293},
    {0x295, 0x2AF},     {0x370, 0x373},     {0x376, 0x377},     {0x37B, 0x37D},
    {0x37F, 0x37F},     {0x386, 0x386},     {0x388, 0x38A},     {0x38C, 0x38C},
    {0x38E, 0x3A1},     {0x3A3, 0x3F5},     {0x3F7, 0x481},     {0x48A, 0x52F},
    {0x531, 0x556},     {0x10A0, 0x10C5},   {0x13A0, 0x13F5},   {0x13F8, 0x13FD},
    {0x1C90, 0x1CBA},   {0x1CBD, 0x1CBF},   {0x1D00, 0x1D2B},   {0x1D6B, 0x1D77},
    {0x1D79, 0x1D9A},   {0x1E00, 0x1F15},   {0x1F18, 0x1F1D},   {0x1F20, 0x1F45},
    {0x1F48, 0x1F4D},   {0x1F50, 0x1F57},   {0x1F59, 0x1F59},   {0x1F5B, 0x1F5B},
    {0x1F5D, 0x1F5D},   {0x1F5F, 0x1F7D},   {0x1F80, 0x1FB4},   {0x1FB6, 0x1FBC},
    {0x1FBE, 0x1FBE},   {0x1FC2, 0x1FC4},   {0x1FC6, 0x1FCC},   {0x1FD0, 0x1FD3},
    {0x1FD6, 0x1FDB},   {0x1FE0, 0x1FEC},   {0x1FF2, 0x1FF4},   {0x1FF6, 0x1FFC},
    {0x2102, 0x2102},   {0x2107, 0x2107},   {0x210A, 0x2113},   {0x2115, 0x2115},
    {0x2119, 0x211D},   {0x2124, 0x2124},   {0x2126, 0x2126},   {0x2128, 0x2128},
    {0x212A, 0x212D},   {0x212F, 0x2134},   {0x2139, 0x2139},   {0x213C, 0x213F},
    {0x2145, 0x2149},   {0x214E, 0x214E},   {0x2183, 0x2184},   {0x2C00, 0x2C7B},
    {0x2C7E, 0x2CE4},   {0x2CEB, 0x2CEE},   {0x2CF2, 0x2CF3},   {0xA640, 0xA66D},
    {0xA680, 0xA69B},   {0xA722, 0xA76F},   {0xA771, 0xA787},   {0xA78B, 0xA78E},
    {0xAB70, 0xABBF},   {0xFB00, 0xFB06},   {0xFB13, 0xFB17},   {0xFF21, 0xFF3A},
    {0xFF41, 0xFF5A},   {0x10400, 0x1044F}, {0x104B0, 0x104D3}, {0x104D8, 0x104FB},
    {0x10C80, 0x10CB2}, {0x10CC0, 0x10CF2}, {0x118A0, 0x118DF}, {0x1E900, 0x1E943},
};
// The published set also has U+3000, which the reference takes as white space first.
constexpr Range kDeepSeekPunctuation[] = {{0x21, 0x2F},     {0x3A, 0x7E},     {0x2018, 0x201F},
                                          {0x3001, 0x3002}, {0xFF01, 0xFF0F}, {0xFF1A, 0xFF5E}};
// "[^(\s|.,!?…。，、।۔،)]" without its white space.
constexpr Range kBloomPunctuation[] = {{'!', '!'},       {'(', ')'},       {',', ','},
                                       {'.', '.'},       {'?', '?'},       {'|', '|'},
                                       {0x60C, 0x60C},   {0x6D4, 0x6D4},   {0x964, 0x964},
                                       {0x2026, 0x2026}, {0x3001, 0x3002}, {0xFF0C, 0xFF0C}};
// "$+<=>^~|", which are symbols to Unicode; Falcon has the backtick too.
constexpr Range kAsciiSymbols[] = {{'$', '$'}, {'+', '+'}, {'<', '>'},
                                   {'^', '^'}, {'|', '|'}, {'~', '~'}};
constexpr Range kFalconSymbols[] = {{'$', '$'}, {'+', '+'}, {'<', '>'}, {'^', '^'},
                                    {'`', '`'}, {'|', '|'}, {'~', '~'}};
constexpr Range kYoutuHangul[] = {{0x3131, 0x318E}, {0xAC00, 0xD7A3}};
constexpr Range kYoutuPunctuation[] = {{0x2014, 0x2014}, {0x2018, 0x2019}, {0x201C, 0x201D},
                                       {0x2026, 0x2026}, {0x3001, 0x303F}, {0xFE30, 0xFE4F},
                                       {0xFF01, 0xFF01}, {0xFF0C, 0xFF0C}, {0xFF1A, 0xFF1B}};
constexpr Range kBopomofo[] = {{0x3105, 0x312F}};
constexpr Range kAfmoeAsian[] = {
    {0x0E40, 0x0EFF}, {0x1000, 0x109F}, {0x1100, 0x11FF}, {0x1780, 0x17FF}, {0x2F00, 0x2FDF},
    {0x3040, 0x30FF}, {0x3400, 0x4DBF}, {0x4E00, 0x9FFF}, {0xA9E0, 0xA9FF}, {0xAA60, 0xAA7F},
    {0xAC00, 0xD7AF}, {0xF900, 0xFAFF}, {0xFF65, 0xFF9F}};

constexpr Stage words(const WordRule& rule) { return {.kind = Kind::kWords, .words = rule}; }
constexpr Stage runs(const CharSet& body, uint32_t min = 1, uint32_t max = UINT32_MAX) {
  return {.kind = Kind::kRuns, .body = body, .min = min, .max = max};
}
constexpr Stage prefixed_runs(const CharSet& prefix, const CharSet& body) {
  return {.kind = Kind::kRuns, .prefix = prefix, .body = body};
}
constexpr Stage plain(Kind kind) { return {.kind = kind}; }

constexpr CharSet kAnySpace = {.classes = kSpaces};
constexpr CharSet kAnyNumber = {.classes = kNumbers};
constexpr CharSet kAnyLetter = {.classes = kLetters};

// 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
constexpr WordRule kGpt2Rule = {.contractions = Contractions::kLowerCase,
                                .words = Words::kAfterSpace,
                                .max_digits = WordRule::kUnlimited,
                                .punctuation_takes_newlines = false,
                                .has_newline_rule = false};
// (?i:'s|...)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,n}|
// ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
constexpr WordRule llama_rule(uint32_t max_digits) { return {.max_digits = max_digits}; }
constexpr WordRule kQwen35Rule = {.letters = kLetters | kMarks,
                                  .punctuation = without(kSpaces | kLetters | kMarks | kNumbers)};
constexpr WordRule kSeedCoderRule = {.punctuation_takes_newlines = false};
constexpr WordRule kUfakzekaRule = {.contractions = Contractions::kNone};
constexpr WordRule cased_rule(Contractions contractions, uint32_t max_digits) {
  return {.contractions = contractions,
          .words = Words::kCased,
          .letters = kLetters | kMarks,
          .max_digits = max_digits,
          .punctuation_takes_slashes = true};
}
constexpr WordRule kDeepSeek3Rule = {.contractions = Contractions::kNone,
                                     .words = Words::kAfterNonSymbol,
                                     .letters = kLetters | kMarks,
                                     .max_digits = 0,
                                     .punctuation = kPunctuations | kSymbols};

constexpr Stage kGpt2[] = {words(kGpt2Rule)};
constexpr Stage kDigitsThenGpt2[] = {runs(kAnyNumber, 1, 1), words(kGpt2Rule)};
constexpr Stage kDefault[] = {runs({.classes = kPunctuations, .ranges = kAsciiSymbols}),
                              words(kGpt2Rule), runs(kAnyNumber),
                              runs({.ranges = kAsciiDigits}, 3, 3)};
constexpr Stage kFalcon[] = {runs({.classes = kPunctuations, .ranges = kFalconSymbols}),
                             words(kGpt2Rule), runs({.ranges = kAsciiDigits}, 3, 3)};
constexpr Stage kLlama3[] = {words(llama_rule(3))};
constexpr Stage kQwen2[] = {words(llama_rule(1))};
constexpr Stage kQwen35[] = {words(kQwen35Rule)};
constexpr Stage kSeedCoder[] = {words(kSeedCoderRule)};
constexpr Stage kUfakzeka[] = {words(kUfakzekaRule)};
constexpr Stage kLaguna[] = {plain(Kind::kLines), words(llama_rule(1))};
constexpr Stage kMiniCpm5[] = {runs(kAnyNumber, 1, 3), words(llama_rule(WordRule::kUnlimited))};
constexpr Stage kTekken[] = {words(cased_rule(Contractions::kNone, 1))};
constexpr Stage kGpt4o[] = {words(cased_rule(Contractions::kAnyCaseTail, 3))};
constexpr Stage kTinyAya[] = {plain(Kind::kDigitGroupsFromRight),
                              words(cased_rule(Contractions::kAnyCaseTail, 3))};
constexpr Stage kYoutu[] = {runs({.ranges = kYoutuHangul}), runs({.ranges = kYoutuPunctuation}),
                            runs({.ranges = kBopomofo}), runs({.ranges = kHanAndKana}),
                            words(cased_rule(Contractions::kAnyCaseTail, 1))};
constexpr Stage kDeepSeek3[] = {runs(kAnyNumber, 1, 3), runs({.ranges = kHanAndKana}),
                                words(kDeepSeek3Rule)};
constexpr Stage kAfmoe[] = {plain(Kind::kDigitGroupsFromRight), runs({.ranges = kAfmoeAsian}),
                            words(kDeepSeek3Rule)};
constexpr Stage kDeepSeekLlm[] = {runs({.ranges = kLineBreaks}, 1, 1),
                                  prefixed_runs(kAnySpace, {.ranges = kDeepSeekLetters}),
                                  prefixed_runs(kAnySpace, {.ranges = kDeepSeekPunctuation}),
                                  plain(Kind::kTrailingSpace),
                                  runs({.ranges = kDeepSeekCjk}),
                                  runs(kAnyNumber)};
constexpr Stage kDeepSeekCoder[] = {runs({.ranges = kLineBreaks}, 1, 1),
                                    prefixed_runs(kAnySpace, kAnyLetter),
                                    prefixed_runs(kAnySpace, {.classes = kPunctuations}),
                                    runs({.ranges = kDeepSeekCjk}), runs(kAnyNumber, 1, 1)};
constexpr CharSet kBloomWord = {
    .classes = kSpaces, .ranges = kBloomPunctuation, .is_negated = true};
constexpr Stage kBloom[] = {prefixed_runs({.ranges = kBlank}, kBloomWord)};
constexpr Stage kViking[] = {prefixed_runs({.ranges = kBlank}, kBloomWord), runs(kAnyNumber, 1, 1)};
constexpr Stage kGemma4[] = {plain(Kind::kLines)};

constexpr PreTokenizer kTable[] = {
    {"default", kDefault},
    {"", kDefault},
    {"gpt-2", kGpt2},
    {"phi-2", kGpt2},
    {"mpt", kGpt2},
    {"olmo", kGpt2},
    {"jais", kGpt2},
    {"trillion", kGpt2},
    {"granite-docling", kGpt2},
    {"gigachat", kGpt2},
    {"exaone4", kGpt2},
    {"a.x-4.0", kGpt2},
    {"mellum", kGpt2},
    {"modern-bert", kGpt2},
    {"roberta-bpe", kGpt2},
    {"jina-es", kGpt2},
    {"jina-de", kGpt2},
    {"jina-v1-en", kGpt2},
    {"jina-v2-es", kGpt2},
    {"jina-v2-de", kGpt2},
    {"jina-v2-code", kGpt2},
    {"smollm", kDigitsThenGpt2},
    {"starcoder", kDigitsThenGpt2},
    {"refact", kDigitsThenGpt2},
    {"command-r", kDigitsThenGpt2},
    {"codeshell", kDigitsThenGpt2},
    {"exaone", kDigitsThenGpt2},
    {"minerva-7b", kDigitsThenGpt2},
    {"mellum2", kDigitsThenGpt2},
    {"llama-bpe", kLlama3, true, true},
    {"llama3", kLlama3, true, true},
    {"llama-v3", kLlama3, true, true},
    {"falcon3", kLlama3, true, true},
    {"falcon-h1", kLlama3, true, true},
    {"pixtral", kLlama3, true, true},
    {"midm-2.0", kLlama3, true, true},
    {"lfm2", kLlama3, true, true},
    {"jina-v5-nano", kLlama3, true, true},
    {"dbrx", kLlama3},
    {"smaug-bpe", kLlama3},
    {"chatglm-bpe", kLlama3},
    {"glm4", kLlama3, true},
    {"glm5", kLlama3, true},
    {"qwen2", kQwen2},
    {"deepseek-r1-qwen", kQwen2},
    {"kormo", kQwen2},
    {"f2llmv2", kQwen2},
    {"stablelm2", kQwen2},
    {"megrez", kQwen2},
    {"hunyuan", kQwen2},
    {"solar-open", kQwen2},
    {"grok-2", kQwen2},
    {"bailingmoe", kQwen2},
    {"bailingmoe2", kQwen2},
    {"llada-moe", kQwen2},
    {"qwen35", kQwen35},
    {"seed-coder", kSeedCoder},
    {"ufakzeka", kUfakzeka},
    {"laguna", kLaguna},
    {"minicpm5", kMiniCpm5, true},
    {"tekken", kTekken, true, true},
    {"gpt-4o", kGpt4o},
    {"llama4", kGpt4o},
    {"kanana2", kGpt4o},
    {"talkie", kGpt4o},
    {"minimax-m2", kGpt4o},
    {"granite-embed-multi-97m", kGpt4o, true},
    {"tiny_aya", kTinyAya},
    {"cohere2moe", kTinyAya},
    {"youtu", kYoutu, true},
    {"deepseek-v3", kDeepSeek3},
    {"hunyuan-dense", kDeepSeek3},
    {"joyai-llm", kDeepSeek3},
    {"hy_v4", kDeepSeek3},
    {"afmoe", kAfmoe},
    {"deepseek-llm", kDeepSeekLlm},
    {"deepseek-coder", kDeepSeekCoder},
    {"falcon", kFalcon},
    {"bloom", kBloom},
    {"poro-chat", kBloom},
    {"gpt3-finnish", kBloom},
    {"viking", kViking},
    {"gemma4", kGemma4, false, true},
};

}  // namespace

const PreTokenizer* find_pretokenizer(std::string_view name) {
  const auto found = std::find_if(std::begin(kTable), std::end(kTable),
                                  [&](const PreTokenizer& p) { return p.name == name; });
  return found == std::end(kTable) ? nullptr : found;
}

}  // namespace sluice::text
