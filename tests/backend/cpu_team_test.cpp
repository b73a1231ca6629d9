#include "backend/cpu/team.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "base/error.h"

namespace sluice::backend::cpu {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;

// Work that finds out when it is done twice, out of turn or after its phase. What it counts with is
// plain and unguarded: ThreadSanitizer sees a phase that does not order it.
struct Audit {
  explicit Audit(const std::vector<int>& counts) : times_done(counts.size()) {
    for (size_t phase = 0; phase < counts.size(); ++phase) {
      times_done[phase].resize(static_cast<size_t>(counts[phase]));
    }
  }
  void do_piece(size_t phase, int piece) {
    ++times_done[phase][static_cast<size_t>(piece)];
    if (phase == 0) return;
    for (const int before : times_done[phase - 1]) wrong += before != 1;
  }
  void expect_all_done_once() const {
    EXPECT_EQ(wrong.load(), 0) << "a phase began before the last one was over";
    for (size_t phase = 0; phase < times_done.size(); ++phase) {
      for (const int times : times_done[phase]) ASSERT_EQ(times, 1) << "phase " << phase;
    }
  }

  std::vector<std::vector<int>> times_done;
  std::atomic<int> wrong{0};
};

// Runs `counts.size()` phases; `disturb(member)` is called before each piece.
template <class Disturb>
void run_audited(Team& team, int num_members, const std::vector<int>& counts, Disturb disturb) {
  Audit audit(counts);
  PhaseList phases;
  for (size_t phase = 0; phase < counts.size(); ++phase) {
    phases.add(counts[phase], [&audit, &disturb, phase](Pieces& pieces) {
      for (const int piece : pieces) {
        disturb(pieces.member());
        audit.do_piece(phase, piece);
      }
    });
  }
  team.run(num_members, phases.phases());
  audit.expect_all_done_once();
}

TEST(Team, EveryPieceIsDoneOnceAndPhasesFollowEachOther) {
  for (const int size : {1, 2, 3, 8, 40}) {
    SCOPED_TRACE(size);
    Team team(size);
    for (int round = 0; round < 20; ++round) {
      run_audited(team, size, {0, 1, 3, 64, 0, 0, 200, 2, 1, 1, 7, 0}, [](int) {});
    }
    run_audited(team, size, {}, [](int) {});
    run_audited(team, size, {0, 0}, [](int) {});
  }
}

// In a child process, whose user may have a few threads only (root is not bound by the limit).
TEST(Team, AMemberThatCannotBeStartedIsAnError) {
  const pid_t child = ::fork();
  if (child == 0) {
    const bool is_root = ::geteuid() == 0;
    const rlimit limit = {is_root ? 4u : 1u, is_root ? 4u : 1u};
    if (is_root && ::setuid(60123) != 0) ::_exit(3);
    ::setrlimit(RLIMIT_NPROC, &limit);
    try {
      Team team(16);
    } catch (const Error& error) {
      ::_exit(error.code() == ErrorCode::kOutOfMemory ? 7 : 2);
    }
    ::_exit(1);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  ASSERT_TRUE(WIFEXITED(status)) << "ended by signal " << WTERMSIG(status);
  EXPECT_EQ(WEXITSTATUS(status), 7);
}

// Members that are held up anywhere, and as many as the step before had or others.
TEST(Team, DelaysAndChangingNumbersOfMembersLoseNothing) {
  const unsigned seed = std::random_device()();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  Team team(6);
  for (int round = 0; round < 150; ++round) {
    std::vector<int> counts(random() % 30);
    for (int& count : counts) count = static_cast<int>(random() % 20);
    const auto rarity = static_cast<unsigned>(1 + random() % 60);
    std::atomic<unsigned> calls{0};
    run_audited(team, static_cast<int>(random() % 8), counts, [&](int member) {
      const unsigned call = calls++ + static_cast<unsigned>(member);
      if (call % rarity == 0) std::this_thread::sleep_for(microseconds(call % 300));
      if (call % 7 == 0) std::this_thread::yield();
    });
  }
}

// Stops threads wherever they are, as a system does that gives their cores to others.
class Stopper {
 public:
  Stopper() {
    stops_ = 0;
    goes_ = 0;
    may_go_ = false;
    struct sigaction action = {};
    action.sa_handler = [](int) {
      ++stops_;
      do {
        ::usleep(50);
      } while (!may_go_);
      ++goes_;
    };
    ::sigaction(SIGUSR1, &action, nullptr);
  }
  ~Stopper() {
    let_go();
    ::signal(SIGUSR1, SIG_IGN);  // one may be on its way still
  }
  static void stop(int member) {
    const int before = stops_;
    send(member);
    while (stops_ == before) std::this_thread::yield();
  }
  // Stops it for about 50 us.
  static void disturb(int member) {
    may_go_ = true;
    send(member);
  }
  static void let_go() {
    may_go_ = true;
    while (goes_ < stops_) std::this_thread::yield();
  }

 private:
  static void send(int member) {
    while (!send_to("cpu-worker-" + std::to_string(member))) std::this_thread::yield();
  }
  // False: there is no such thread yet.
  static bool send_to(const std::string& wanted) {
    for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
      std::string name;
      std::ifstream(task.path() / "comm") >> name;
      if (name != wanted) continue;
      ::syscall(SYS_tgkill, ::getpid(), std::stoi(task.path().filename()), SIGUSR1);
      return true;
    }
    return false;
  }

  static inline std::atomic<int> stops_{0}, goes_{0};
  static inline std::atomic<bool> may_go_{false};
};

#ifndef __SANITIZE_THREAD__  // which keeps signals back
TEST(Team, NobodyWaitsForAMemberThatHoldsNoPiece) {
  Team team(3);
  const std::vector<int> counts(100, 5);
  run_audited(team, 3, counts, [](int) {});
  Stopper stopper;
  stopper.stop(1);
  for (int round = 0; round < 20; ++round) run_audited(team, 3, counts, [](int) {});
  stopper.stop(2);
  for (int round = 0; round < 20; ++round) run_audited(team, 3, counts, [](int) {});
  stopper.let_go();  // in phases that are long over
  for (int round = 0; round < 20; ++round) run_audited(team, 3, counts, [](int) {});
}

TEST(Team, MembersThatAreStoppedAnywhereLoseNothing) {
  Team team(4);
  Stopper stopper;
  std::atomic<bool> is_over{false};
  std::thread disturber([&] {
    for (int i = 0; !is_over; ++i) stopper.disturb(1 + i % 3);
  });
  std::mt19937 random(7);
  for (int round = 0; round < 300; ++round) {
    std::vector<int> counts(1 + random() % 40);
    for (int& count : counts) count = static_cast<int>(random() % 12);
    run_audited(team, static_cast<int>(1 + random() % 4), counts, [](int) {});
  }
  is_over = true;
  disturber.join();
}
#endif

TEST(Team, MembersWalkThroughTheirOwnShareInOrder) {
  Team team(2);
  std::vector<int> order[2];
  team.run(1000, [&](Pieces& pieces) {
    for (const int piece : pieces) {
      order[pieces.member()].push_back(piece);
      std::this_thread::sleep_for(microseconds(1));
    }
  });
  for (const int member : {0, 1}) {
    const std::vector<int>& own = order[member];
    for (size_t i = 1; i < own.size(); ++i) {
      const bool goes_to_help = own[i - 1] / 500 == member && own[i] / 500 != member;
      EXPECT_TRUE(own[i - 1] < own[i] || goes_to_help) << own[i - 1] << ", then " << own[i];
    }
  }
}

TEST(Team, IdleWorkersUseNoCpu) {
  Team team(3);
  team.run(3, [](Pieces& pieces) {
    for ([[maybe_unused]] const int piece : pieces) {
    }
  });
  std::this_thread::sleep_for(milliseconds(20));  // past the idle spin
  const std::clock_t before = std::clock();       // CPU time of the whole process
  std::this_thread::sleep_for(milliseconds(200));
  const double seconds = static_cast<double>(std::clock() - before) / CLOCKS_PER_SEC;
  EXPECT_LT(seconds, 0.05);
}

}  // namespace
}  // namespace sluice::backend::cpu
