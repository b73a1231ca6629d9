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

}  // namespace

std::string_view mix_name(Mix mix) { return mix == Mix::kShareGpt ? "sharegpt" : "alpaca"; }

MixedRequest make_mixed_request(Mix mix, uint64_t seed, uint64_t index) {
  constexpr uint64_t kGolden = 0x9E3779B97F4A7C15;
  std::mt19937_64 random(seed * kGolden + index);
  const MixLengths lengths = lengths_of(mix);
  MixedRequest request;
  request.num_words = draw_length(lengths.prompt, random);
  request.max_tokens = draw_length(lengths.reply, random);
  for (int i = 0; i < std::max(request.num_words - kQuestionWords, 1); ++i) {
    if (i > 0) request.prompt += ' ';
    request.prompt += kWords[random() % kWords.size()];
  }
  request.prompt += kQuestion;
  return request;
}

double uniform_from_bits(uint64_t bits) { return (static_cast<double>(bits >> 11) + 1) * 0x1p-53; }

double exponential_from_bits(uint64_t bits) { return -std::log(uniform_from_bits(bits)); }

}  // namespace sluice::measure
