#include "measure/traffic_mix.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>
#include <random>

namespace sluice::measure {
namespace {

constexpr int kMinTokens = 4;
constexpr int kMaxTokens = 1024;

constexpr std::string_view kQuestion = "\nTell a long story with these words.";
constexpr int kQuestionWords = 8;  // as many tokens, with its full stop and line end

// Everyday words, one token each in most vocabularies.
constexpr std::array<std::string_view, 192> kWords = {
    "time",       "year",     "people",   "way",         "day",      "man",       "thing",
    "woman",      "life",     "child",    "world",       "school",   "state",     "family",
    "student",    "group",    "country",  "problem",     "hand",     "part",      "place",
    "case",       "week",     "company",  "system",      "program",  "question",  "work",
    "government", "number",   "night",    "point",       "home",     "water",     "room",
    "mother",     "area",     "money",    "story",       "fact",     "month",     "lot",
    "right",      "study",    "book",     "eye",         "job",      "word",      "business",
    "issue",      "side",     "kind",     "head",        "house",    "service",   "friend",
    "father",     "power",    "hour",     "game",        "line",     "end",       "member",
    "law",        "car",      "city",     "community",   "name",     "president", "team",
    "minute",     "idea",     "body",     "information", "back",     "parent",    "face",
    "others",     "level",    "office",   "door",        "health",   "person",    "art",
    "war",        "history",  "party",    "result",      "change",   "morning",   "reason",
    "research",   "girl",     "guy",      "moment",      "air",      "teacher",   "force",
    "education",  "foot",     "boy",      "age",         "policy",   "music",     "market",
    "sense",      "nation",   "plan",     "college",     "interest", "death",     "experience",
    "effect",     "use",      "class",    "control",     "care",     "field",     "development",
    "role",       "effort",   "rate",     "heart",       "drug",     "show",      "leader",
    "light",      "voice",    "wife",     "police",      "mind",     "price",     "report",
    "decision",   "son",      "view",     "town",        "road",     "arm",       "difference",
    "value",      "building", "action",   "season",      "society",  "tax",       "director",
    "position",   "player",   "record",   "paper",       "space",    "ground",    "form",
    "event",      "official", "matter",   "center",      "couple",   "site",      "project",
    "base",       "activity", "star",     "table",       "need",     "court",     "oil",
    "situation",  "cost",     "industry", "figure",      "street",   "image",     "phone",
    "data",       "picture",  "practice", "piece",       "land",     "product",   "doctor",
    "wall",       "news",     "test",     "movie",       "north",    "love",      "step",
    "film",       "south",    "tree"};

struct LogNormal {
  double mean = 0;
  double sigma = 0;  // of the logarithm
};

struct MixLengths {
  LogNormal prompt;
  LogNormal reply;
};

MixLengths lengths_of(Mix mix) {
  if (mix == Mix::kShareGpt) return {{161.31, 1.0}, {337.99, 0.7}};
  return {{19.31, 0.5}, {58.45, 0.7}};
}

// Box and Muller's normal number, stretched.
int draw_length(const LogNormal& lengths, std::mt19937_64& random) {
  const double radius = std::sqrt(2 * exponential_from_bits(random()));
  const double normal = radius * std::cos(2 * std::numbers::pi * uniform_from_bits(random()));
  const double location = std::log(lengths.mean) - lengths.sigma * lengths.sigma / 2;
  const double length = std::exp(location + lengths.sigma * normal);
  return static_cast<int>(std::lround(std::clamp(length, double{kMinTokens}, double{kMaxTokens})));
}

std::mt19937_64 random_of(uint64_t seed, uint64_t index) {
  constexpr uint64_t kGolden = 0x9E3779B97F4A7C15;
  return std::mt19937_64(seed * kGolden + index);
}

void append_words(int num_words, std::mt19937_64& random, std::string& text) {
  for (int i = 0; i < num_words; ++i) {
    if (!text.empty()) text += ' ';
    text += kWords[random() % kWords.size()];
  }
}

std::string words_of(int num_words, std::mt19937_64& random) {
  std::string text;
  append_words(std::max(num_words - kQuestionWords, 1), random, text);
  return text.append(kQuestion);
}

}  // namespace

std::string_view mix_name(Mix mix) { return mix == Mix::kShareGpt ? "sharegpt" : "alpaca"; }

MixedRequest make_mixed_request(Mix mix, uint64_t seed, uint64_t index) {
  std::mt19937_64 random = random_of(seed, index);
  const MixLengths lengths = lengths_of(mix);
  MixedRequest request;
  request.num_words = draw_length(lengths.prompt, random);
  request.max_tokens = draw_length(lengths.reply, random);
  request.prompt = words_of(request.num_words, random);
  return request;
}

MixedRequest make_sized_request(const LengthSpec& input, const LengthSpec& output, uint64_t seed,
                                uint64_t index) {
  std::mt19937_64 random = random_of(seed, index);
  const uint64_t bits = random(), more_bits = random();
  const uint64_t output_bits = random(), more_output_bits = random();
  MixedRequest request;
  request.num_words = measure::draw_length(input, bits, more_bits);
  request.max_tokens = measure::draw_length(output, output_bits, more_output_bits);
  request.prompt = words_of(request.num_words, random);
  return request;
}

std::string make_shared_prefix(int num_words, uint64_t seed) {
  constexpr uint64_t kShared = 0x3C6EF372FE94F82B;
  std::mt19937_64 random(seed + kShared);
  std::string text;
  append_words(num_words, random, text);
  return text.empty() ? text : text + "\n";
}

std::string make_trace_prompt(const TraceRequest& request, uint64_t seed, uint64_t place) {
  constexpr uint64_t kBlocks = 0x5DEECE66D;  // words of blocks and of requests differ
  int num_words = std::max(request.input_tokens - kQuestionWords, 1);
  std::string text;
  for (const uint64_t block : request.blocks) {
    if (num_words == 0) break;
    std::mt19937_64 random = random_of(seed + kBlocks, block);
    append_words(std::min(num_words, kTraceBlockTokens), random, text);
    num_words -= std::min(num_words, kTraceBlockTokens);
  }
  std::mt19937_64 random = random_of(seed, place);
  append_words(num_words, random, text);
  return text.append(kQuestion);
}

double uniform_from_bits(uint64_t bits) { return (static_cast<double>(bits >> 11) + 1) * 0x1p-53; }

double exponential_from_bits(uint64_t bits) { return -std::log(uniform_from_bits(bits)); }

}  // namespace sluice::measure
