#include "grammar/dfa.h"

#include <algorithm>
#include <map>
#include <unordered_map>

#include "base/error.h"

namespace sluice::grammar {
namespace {

constexpr size_t kMaxNfaSteps = 200'000;
constexpr size_t kMaxStates = 20'000;
constexpr size_t kMaxTrieStates = 60'000;   // of strings that are written out
constexpr size_t kMaxSetItems = 4'000'000;  // states of the NFA in all the sets together

[[noreturn]] void throw_too_large() {
  throw Error(ErrorCode::kUnsupported,
              "a pattern (with its lengths and bounds) or a list of values needs too large an "
              "automaton; use shorter counts, a simpler pattern or fewer values");
}

using StateSet = std::vector<int32_t>;  // in order

struct SetHash {
  size_t operator()(const StateSet& set) const {
    uint64_t hash = 14695981039346656037u;
    for (const int32_t state : set) {
      hash = (hash ^ static_cast<uint32_t>(state)) * 1099511628211u;
    }
    return static_cast<size_t>(hash ^ hash >> 29);
  }
};

// Follows the steps that take nothing.
class Closure {
 public:
  explicit Closure(const Nfa& nfa) : nfa_(nfa), marks_(nfa.states().size()) {}

  void close(StateSet& set, bool at_begin, bool at_end) {
    ++mark_;
    for (const int32_t state : set) marks_[static_cast<size_t>(state)] = mark_;
    for (size_t i = 0; i < set.size(); ++i) {
      for (const Nfa::FreeStep& step : nfa_.states()[static_cast<size_t>(set[i])].free_steps) {
        if (step.pass == Nfa::Pass::kAtBegin && !at_begin) continue;
        if (step.pass == Nfa::Pass::kAtEnd && !at_end) continue;
        uint32_t& mark = marks_[static_cast<size_t>(step.to)];
        if (mark == mark_) continue;
        mark = mark_;
        set.push_back(step.to);
      }
    }
    nfa_.work().charge(set.size() * 16);
    std::sort(set.begin(), set.end());
  }

 private:
  const Nfa& nfa_;
  std::vector<uint32_t> marks_;
  uint32_t mark_ = 0;
};

}  // namespace

bool is_in_alphabet(size_t alphabet, uint8_t byte) {
  const char c = static_cast<char>(byte);
  const bool is_lower = c >= 'a' && c <= 'z';
  const bool is_letter = is_lower || (c >= 'A' && c <= 'Z');
  switch (alphabet) {
    case 0:
      return is_lower;
    case 1:
      return is_lower || c == ' ';
    case 2:
      return is_letter;
    case 3:
      return is_letter || c == ' ';
    case 4:
      return is_letter || (c >= '0' && c <= '9') || c == '_' || c == '-';
    default:
      return byte >= 0x20 && byte < 0x7F && c != '"' && c != '\\';
  }
}

void append_json_spelling(std::string& out, std::string_view text) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  for (const char c : text) {
    const auto byte = static_cast<uint8_t>(c);
    switch (c) {
      case '"':
        out += "\\\"";
        break;
      case '\\':
        out += "\\\\";
        break;
      case '\b':
        out += "\\b";
        break;
      case '\f':
        out += "\\f";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\r':
        out += "\\r";
        break;
      case '\t':
        out += "\\t";
        break;
      default:
        if (byte >= 0x20) {
          out += c;
        } else {
          out += "\\u00";
          out += kDigits[byte >> 4];
          out += kDigits[byte & 15];
        }
    }
  }
}

int Nfa::add_state() {
  if (states_.size() >= kMaxNfaSteps) throw_too_large();
  work_->charge(64);
  states_.emplace_back();
  return static_cast<int>(states_.size() - 1);
}

void Nfa::add_step(int from, ByteValues bytes, int to) {
  work_->charge(16);
  states_[static_cast<size_t>(from)].steps.push_back({bytes, to});
}

void Nfa::add_free_step(int from, int to, Pass pass) {
  work_->charge(16);
  states_[static_cast<size_t>(from)].free_steps.push_back({pass, to});
}

void Nfa::add_string(int from, std::string_view bytes, int to) {
  for (size_t i = 0; i < bytes.size(); ++i) {
    const auto byte = static_cast<uint8_t>(bytes[i]);
    const int next = i + 1 == bytes.size() ? to : add_state();
    add_step(from, {byte, byte}, next);
    from = next;
  }
}

void Nfa::add_characters(int from, const CodeSet& set, CharSpelling spelling, int to) {
  CodeSet plain = set;
  if (spelling == CharSpelling::kJsonString) {
    const CodeSet escaped = {{0, 0x1F}, {'"', '"'}, {'\\', '\\'}};
    plain = set.without(escaped);
    for (const CodeRange range : escaped.ranges()) {
      for (char32_t code = range.first; code <= range.last; ++code) {
        if (!set.contains(code)) continue;
        std::string bytes;
        append_json_spelling(bytes, std::string(1, static_cast<char>(code)));
        add_string(from, bytes, to);
      }
    }
  }
  for (const CodeRange range : plain.ranges()) {
    for_each_utf8_sequence(range, [&](Utf8Sequence sequence) {
      int at = from;
      for (size_t i = 0; i < sequence.size(); ++i) {
        const int next = i + 1 == sequence.size() ? to : add_state();
        add_step(at, sequence[i], next);
        at = next;
      }
    });
  }
}

int Dfa::add_state(bool is_accepting, size_t most) {
  if (accepting_.size() >= most) throw_too_large();
  accepting_.push_back(is_accepting);
  next_.resize(next_.size() + num_classes_, kDead);
  return static_cast<int>(accepting_.size() - 1);
}

// Bytes that no range tells apart share a class.
void Dfa::refine_classes(const std::vector<ByteValues>& ranges) {
  std::bitset<257> borders;
  for (const ByteValues range : ranges) {
    borders.set(range.first);
    borders.set(size_t{range.last} + 1);
  }
  uint8_t current = 0;
  for (size_t byte = 0; byte < 256; ++byte) {
    if (byte > 0 && borders[byte]) ++current;
    classes_[byte] = current;
  }
  num_classes_ = size_t{current} + 1;
}

Dfa Dfa::from_nfa(const Nfa& nfa, int accept) {
  Dfa dfa;
  std::vector<ByteValues> ranges;
  for (const Nfa::State& state : nfa.states()) {
    for (const Nfa::Step& step : state.steps) ranges.push_back(step.bytes);
  }
  dfa.refine_classes(ranges);
  std::vector<uint8_t> examples(dfa.num_classes_);  // a byte of each class
  for (size_t byte = 256; byte-- > 0;) examples[dfa.classes_[byte]] = static_cast<uint8_t>(byte);

  Closure closure(nfa);
  std::unordered_map<StateSet, int, SetHash> ids;
  std::vector<const StateSet*> sets;
  size_t num_items = 0;
  const auto intern = [&](StateSet set, bool at_begin) {
    closure.close(set, at_begin, false);
    const auto [at, is_new] = ids.emplace(std::move(set), static_cast<int>(sets.size()));
    if (!is_new) return at->second;
    num_items += at->first.size();
    if (num_items > kMaxSetItems) throw_too_large();
    sets.push_back(&at->first);
    StateSet ending = at->first;
    closure.close(ending, at_begin, true);
    return dfa.add_state(std::binary_search(ending.begin(), ending.end(), accept), kMaxStates);
  };
  intern({0}, true);
  for (size_t i = 0; i < sets.size(); ++i) {
    for (size_t c = 0; c < dfa.num_classes_; ++c) {
      StateSet reached;
      for (const int32_t state : *sets[i]) {
        for (const Nfa::Step& step : nfa.states()[static_cast<size_t>(state)].steps) {
          if (step.bytes.first <= examples[c] && examples[c] <= step.bytes.last) {
            reached.push_back(step.to);
          }
        }
      }
      nfa.work().charge(sets[i]->size() * 8 + 16);
      if (reached.empty()) continue;
      std::sort(reached.begin(), reached.end());
      reached.erase(std::unique(reached.begin(), reached.end()), reached.end());
      const int next = intern(std::move(reached), false);
      dfa.next_[i * dfa.num_classes_ + c] = next;
    }
  }
  dfa.trim();
  return dfa;
}

Dfa Dfa::of_strings(std::vector<std::string> strings, Work& work) {
  std::vector<ByteValues> ranges;
  std::bitset<256> used;
  for (const std::string& string : strings) {
    for (const char c : string) used.set(static_cast<uint8_t>(c));
  }
  for (size_t byte = 0; byte < 256; ++byte) {
    if (used[byte]) ranges.push_back({static_cast<uint8_t>(byte), static_cast<uint8_t>(byte)});
  }
  Dfa dfa;
  if (strings.empty()) return dfa;
  dfa.refine_classes(ranges);
  dfa.add_state(false, kMaxTrieStates);
  for (const std::string& string : strings) {
    work.charge(string.size() * 64 + 64);
    size_t state = 0;
    for (const char c : string) {
      const size_t edge = state * dfa.num_classes_ + dfa.classes_[static_cast<uint8_t>(c)];
      if (dfa.next_[edge] == kDead) {
        const int added = dfa.add_state(false, kMaxTrieStates);
        dfa.next_[edge] = added;
      }
      state = static_cast<size_t>(dfa.next_[edge]);
    }
    dfa.accepting_[state] = true;
  }
  dfa.trim();
  return dfa;
}

template <typename Keep>
Dfa Dfa::product(const Dfa& a, const Dfa& b, Work& work, Keep keep) {
  Dfa dfa;
  if (a.is_empty()) return dfa;
  std::map<std::pair<uint8_t, uint8_t>, uint8_t> pairs;
  for (size_t byte = 0; byte < 256; ++byte) {
    const auto [at, is_new] = pairs.emplace(std::pair(a.classes_[byte], b.classes_[byte]),
                                            static_cast<uint8_t>(pairs.size()));
    dfa.classes_[byte] = at->second;
  }
  dfa.num_classes_ = pairs.size();
  std::unordered_map<uint64_t, int> ids;
  std::vector<std::pair<int, int>> states;
  const auto intern = [&](int in_a, int in_b) {
    const uint64_t key = uint64_t{static_cast<uint32_t>(in_a)} << 32 | static_cast<uint32_t>(in_b);
    const auto [at, is_new] = ids.emplace(key, static_cast<int>(states.size()));
    if (!is_new) return at->second;
    states.emplace_back(in_a, in_b);
    return dfa.add_state(keep(a.is_accepting(in_a), in_b != kDead && b.is_accepting(in_b)),
                         kMaxStates);
  };
  intern(0, b.is_empty() ? kDead : 0);
  for (size_t i = 0; i < states.size(); ++i) {
    const auto [in_a, in_b] = states[i];
    work.charge(pairs.size() * 16);
    for (const auto& [classes, own] : pairs) {
      const int next_a = a.next_[static_cast<size_t>(in_a) * a.num_classes_ + classes.first];
      if (next_a == kDead) continue;
      const int next_b = in_b == kDead
                             ? kDead
                             : b.next_[static_cast<size_t>(in_b) * b.num_classes_ + classes.second];
      if (next_b == kDead && !keep(true, false)) continue;
      const int next = intern(next_a, next_b);
      dfa.next_[i * dfa.num_classes_ + own] = next;
    }
  }
  dfa.trim();
  return dfa;
}

Dfa Dfa::intersect(const Dfa& a, const Dfa& b, Work& work) {
  return product(a, b, work, [](bool in_a, bool in_b) { return in_a && in_b; });
}

Dfa Dfa::subtract(const Dfa& a, const Dfa& b, Work& work) {
  return product(a, b, work, [](bool in_a, bool in_b) { return in_a && !in_b; });
}

// Leaves out states from which nothing is accepted.
void Dfa::trim() {
  const size_t count = accepting_.size();
  std::vector<std::vector<int32_t>> sources(count);
  for (size_t i = 0; i < next_.size(); ++i) {
    if (next_[i] == kDead) continue;
    sources[static_cast<size_t>(next_[i])].push_back(static_cast<int32_t>(i / num_classes_));
  }
  std::vector<int32_t> queue;
  std::vector<bool> is_useful(count);
  for (size_t i = 0; i < count; ++i) {
    if (!accepting_[i]) continue;
    is_useful[i] = true;
    queue.push_back(static_cast<int32_t>(i));
  }
  for (size_t i = 0; i < queue.size(); ++i) {
    for (const int32_t source : sources[static_cast<size_t>(queue[i])]) {
      if (is_useful[static_cast<size_t>(source)]) continue;
      is_useful[static_cast<size_t>(source)] = true;
      queue.push_back(source);
    }
  }
  std::vector<int32_t> new_ids(count, kDead);
  int32_t num_kept = 0;
  const bool is_empty = count == 0 || !is_useful[0];
  for (size_t i = 0; i < count && !is_empty; ++i) {
    if (is_useful[i]) new_ids[i] = num_kept++;
  }
  std::vector<int32_t> next;
  std::vector<bool> accepting;
  for (size_t i = 0; i < count; ++i) {
    if (new_ids[i] == kDead) continue;
    accepting.push_back(accepting_[i]);
    for (size_t c = 0; c < num_classes_; ++c) {
      const int32_t to = next_[i * num_classes_ + c];
      next.push_back(to == kDead ? kDead : new_ids[static_cast<size_t>(to)]);
    }
  }
  next_ = std::move(next);
  accepting_ = std::move(accepting);
  live_.assign(accepting_.size(), {});
  for (size_t i = 0; i < live_.size(); ++i) {
    for (size_t byte = 0; byte < 256; ++byte) {
      if (next_[i * num_classes_ + classes_[byte]] != kDead) live_[i].set(byte);
    }
  }
}

bool Dfa::accepts(std::string_view text) const {
  if (is_empty()) return false;
  int state = 0;
  for (const char c : text) {
    state = step(state, static_cast<uint8_t>(c));
    if (state == kDead) return false;
  }
  return is_accepting(state);
}

// A state has a run one longer than the shortest behind any character of the alphabet.
void Dfa::find_runs(Work& work) {
  for (size_t alphabet = 0; alphabet < kNumAlphabets; ++alphabet) {
    std::bitset<256> is_class;
    for (size_t byte = 0; byte < 256; ++byte) {
      if (is_in_alphabet(alphabet, static_cast<uint8_t>(byte))) is_class.set(classes_[byte]);
    }
    std::vector<size_t> wanted;
    for (size_t c = 0; c < num_classes_; ++c) {
      if (is_class[c]) wanted.push_back(c);
    }
    std::vector<uint8_t>& runs = runs_[alphabet];
    runs.assign(accepting_.size(), kLongestRun);
    for (uint8_t length = 0; length < kLongestRun; ++length) {
      bool has_changed = false;
      work.charge(runs.size() * wanted.size());
      for (size_t state = 0; state < runs.size(); ++state) {
        if (runs[state] != kLongestRun) continue;
        const bool ends = std::ranges::any_of(wanted, [&](size_t c) {
          const int32_t next = next_[state * num_classes_ + c];
          if (next == kDead) return true;
          return length > 0 && runs[static_cast<size_t>(next)] == length - 1;
        });
        if (!ends) continue;
        runs[state] = length;
        has_changed = true;
      }
      if (!has_changed) break;
    }
  }
}

size_t Dfa::size_bytes() const {
  return sizeof(*this) + accepting_.size() * kNumAlphabets + next_.size() * sizeof(int32_t) +
         live_.size() * (sizeof(live_[0]) + 1);
}

}  // namespace sluice::grammar
