#pragma once

#include <atomic>
#include <cstddef>
#include <utility>

namespace sluice::server {

// Memory that many share: how much of it is taken. Safe to share between threads.
struct ByteBudget {
  explicit ByteBudget(size_t most) : limit(most) {}
  const size_t limit;
  std::atomic<size_t> used = 0;
};

// One holder's part of a budget, given back when it goes. The budget must outlive it.
class Charge {
 public:
  explicit Charge(ByteBudget& budget) : budget_(budget) {}
  ~Charge() { budget_.used -= size_; }
  Charge(const Charge&) = delete;
  Charge& operator=(const Charge&) = delete;

  // False, with nothing changed, when there is no room to grow.
  bool resize(size_t size) {
    const size_t before = budget_.used.fetch_add(size - size_);
    if (size > size_ && before + (size - size_) > budget_.limit) {
      budget_.used -= size - size_;
      return false;
    }
    size_ = size;
    return true;
  }
  bool grow(size_t more) { return resize(size_ + more); }
  size_t size() const { return size_; }

 private:
  ByteBudget& budget_;
  size_t size_ = 0;
};

}  // namespace sluice::server
