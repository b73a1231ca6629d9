// What a phase of the CPU backend's team costs beside its work: phases of pieces that do next to
// nothing, in steps of as many phases as a small model has.
//
//   team [threads] [pieces a phase, as 1,2,32]
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "backend/cpu/team.h"
#include "base/cpu_features.h"
#include "base/threads.h"
#include "timing.h"

namespace {

using namespace sluice;
using namespace sluice::backend::cpu;

constexpr int kPhases = 300;

double phase_seconds(Team& team, int num_members, int num_pieces) {
  volatile int sink = 0;
  PhaseList phases;
  const double step = bench::best_time(0.3, [&] {
    phases.clear();
    for (int i = 0; i < kPhases; ++i) {
      phases.add(num_pieces, [&sink](Pieces& pieces) {
        int sum = 0;
        for (const int piece : pieces) sum += piece;
        if (sum < 0) sink = sum;
      });
    }
    team.run(num_members, phases.phases());
  });
  return step / kPhases;
}

}  // namespace

int main(int argc, char** argv) {
  const int threads = argc > 1 && std::atoi(argv[1]) > 0 ? std::atoi(argv[1]) : usable_cores();
  std::vector<std::string> counts = bench::split(argc > 2 ? argv[2] : "1,2,8,32");
  Team team(threads);
  std::printf("%s: ns a phase, best of 0.3 s\n", cpu_model_name().c_str());
  for (const std::string& count : counts) {
    for (int members = 1; members <= threads; members *= 2) {
      std::printf("  %4s pieces, %2d members: %7.0f\n", count.c_str(), members,
                  phase_seconds(team, members, std::atoi(count.c_str())) * 1e9);
    }
  }
}
