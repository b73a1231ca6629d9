#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory_resource>
#include <new>
#include <span>
#include <thread>
#include <type_traits>
#include <vector>

namespace sluice::backend::cpu {

class Pieces;

// A part of a step that must be over before the next one begins: `num_pieces` pieces of work that
// may be done in any order, by anybody. `call` does those that it takes out of `pieces`; it must
// not throw.
struct Phase {
  int num_pieces;
  const void* work;
  void (*call)(const void* work, Pieces& pieces);
};

// A phase that calls work(pieces), for as long as `work` lives.
template <class Work>
Phase make_phase(int num_pieces, const Work& work) {
  return {num_pieces, &work,
          [](const void* w, Pieces& pieces) { (*static_cast<const Work*>(w))(pieces); }};
}

// The phases of a step, in order.
class PhaseList {
 public:
  PhaseList() : first_memory_(kFirstBytes), memory_(first_memory_.data(), kFirstBytes) {}

  // Keeps a copy of `work`, a closure of plain values.
  template <class Work>
  void add(int num_pieces, const Work& work) {
    static_assert(std::is_trivially_destructible_v<Work>);
    void* place = memory_.allocate(sizeof(Work), alignof(Work));
    phases_.push_back(make_phase(num_pieces, *new (place) Work(work)));
  }
  void clear() {
    phases_.clear();
    memory_.release();
  }
  std::span<const Phase> phases() const { return phases_; }

 private:
  static constexpr size_t kFirstBytes = 64 << 10;  // most steps need no more

  std::vector<Phase> phases_;
  std::vector<std::byte> first_memory_;
  std::pmr::monotonic_buffer_resource memory_;
};

// A fixed team of threads that works through phases: the caller is member 0, the others are threads
// named "cpu-worker-N" that live as long as the team and sleep while there is nothing to do.
//
// A phase is over when its pieces are done, not when every member has come: on a crowded machine
// the system takes members off their cores for milliseconds. Nobody waits for one that holds no
// piece; whoever finishes the last piece begins the next phase, and who comes late joins the phase
// that is on. Who waits spins shortly, then sleeps and leaves its core to others.
class Team {
 public:
  explicit Team(int num_threads);  // at least 1; throws what start_thread() does
  ~Team();
  Team(const Team&) = delete;
  Team& operator=(const Team&) = delete;

  int size() const { return size_; }

  // Runs the phases one after the other on the first `num_members` members; what a phase has
  // written is visible in the next ones and after the return. Returns the time that members spent
  // asleep in all, waiting for others.
  std::chrono::nanoseconds run(int num_members, std::span<const Phase> phases);

  // A single phase on all members, as work(pieces).
  template <class Work>
  void run(int num_pieces, const Work& work) {
    const Phase phase = make_phase(num_pieces, work);
    run(size_, {&phase, 1});
  }

 private:
  friend class Pieces;

  // Each on a cache line pair of its own: members hammer them.
  template <class T>
  struct alignas(128) Padded {
    std::atomic<T> value{0};
  };
  // What is going on. `word` is the number of the phase since the team began (the lower half; it
  // may wrap) and the number of its pieces, 0 between runs (the upper half).
  struct alignas(128) Now {
    std::atomic<uint64_t> word{0};
    std::atomic<int> num_members{0};  // the others sleep until it changes
    // Below: for who holds a piece only, as they change behind everybody else's back.
    const Phase* phase = nullptr;
    std::span<const Phase> phases;
    size_t next = 0;
  };

  void stop();
  void serve(int member);
  bool take_part(int member, uint64_t word);
  void begin_next_phase();
  void publish(uint32_t num_pieces);
  void wait_while(uint64_t word);
  void set_num_members(int num_members);

  const int size_;
  const std::chrono::nanoseconds spin_;
  Now now_;
  // By member: the phase, and how many pieces of the member's share are taken.
  std::vector<Padded<uint64_t>> taken_of_;
  Padded<uint32_t> num_done_;                  // pieces of the phase
  Padded<bool> has_sleepers_;                  // who wait for the word to change
  std::atomic<int64_t> slept_nanoseconds_{0};  // in this run, all members together
  std::vector<std::thread> workers_;
};

// The pieces of a phase that one member does, to be gone through once: `for (int piece : pieces)`.
// Pieces that follow each other lie one behind the other in memory, mostly: each member walks
// through a share of its own, so that the processor's prefetchers see one stream, and then helps
// the others.
class Pieces {
 public:
  // The member's number, for memory of its own.
  int member() const { return member_; }

  struct End {};
  class Iterator {
   public:
    explicit Iterator(Pieces& pieces) : pieces_(pieces) {}
    int operator*() const { return pieces_.current_; }
    Iterator& operator++() {
      pieces_.take();
      return *this;
    }
    bool operator!=(End) const { return pieces_.current_ >= 0; }

   private:
    Pieces& pieces_;
  };
  Iterator begin() { return Iterator(*this); }
  End end() const { return {}; }

 private:
  friend class Team;

  // All pieces, for a team of one.
  explicit Pieces(int num_pieces) : share_size_(static_cast<uint32_t>(num_pieces)) { take(); }
  // Takes the first piece, if any is left of the phase.
  Pieces(Team& team, int member, int num_members, uint64_t word)
      : team_(&team),
        member_(member),
        num_members_(num_members),
        phase_(static_cast<uint32_t>(word)),
        num_pieces_(static_cast<uint32_t>(word >> 32)) {
    walk_through(member);
    take();
  }

  void walk_through(int owner) {
    owner_ = owner;
    const auto pieces = uint64_t{num_pieces_}, members = static_cast<uint64_t>(num_members_);
    share_first_ = static_cast<uint32_t>(pieces * static_cast<uint64_t>(owner) / members);
    share_size_ =
        static_cast<uint32_t>(pieces * static_cast<uint64_t>(owner + 1) / members) - share_first_;
  }
  void take();
  bool take_from_share();

  Team* team_ = nullptr;
  int member_ = 0;
  int num_members_ = 1;
  uint32_t phase_ = 0;
  uint32_t num_pieces_ = 0;
  int owner_ = 0;  // whose share is being walked through
  uint32_t share_first_ = 0, share_size_ = 0;
  int current_ = -1;
  uint32_t num_taken_ = 0;
};

inline void Pieces::take() {
  if (!team_) {
    current_ = num_taken_ < share_size_ ? static_cast<int>(num_taken_++) : -1;
    return;
  }
  while (!take_from_share()) {
    const int next = owner_ + 1 < num_members_ ? owner_ + 1 : 0;
    if (next == member_) {
      current_ = -1;
      return;
    }
    walk_through(next);
  }
}

inline bool Pieces::take_from_share() {
  std::atomic<uint64_t>& taken = team_->taken_of_[static_cast<size_t>(owner_)].value;
  uint64_t old = taken.load(std::memory_order_relaxed);
  while (true) {
    // A count of an earlier phase stands for none taken of this one. One of a later phase says that
    // this one is over: the member has slept through it.
    const auto age = static_cast<int32_t>(phase_ - static_cast<uint32_t>(old));
    const uint32_t count = age > 0 ? 0 : static_cast<uint32_t>(old >> 32);
    if (age < 0 || count >= share_size_) return false;
    // The count changes together with the phase's number, so a piece can only be taken of the phase
    // that it is meant for; and that phase stays until this member has reported the piece.
    if (taken.compare_exchange_weak(old, uint64_t{count + 1} << 32 | phase_,
                                    std::memory_order_acquire, std::memory_order_relaxed)) {
      current_ = static_cast<int>(share_first_ + count);
      ++num_taken_;
      return true;
    }
  }
}

}  // namespace sluice::backend::cpu
