#pragma once

#include <cstdint>
#include <vector>

#include "backend/cuda/device.h"

namespace sluice::backend::cuda {

// Steps that come again and again, as graphs: one call launches all of their kernels. The most
// recent ones are kept.
template <typename Key>
class GraphCache {
 public:
  explicit GraphCache(const Device& device) : device_(device) {}
  ~GraphCache() { clear(); }
  GraphCache(const GraphCache&) = delete;
  GraphCache& operator=(const GraphCache&) = delete;

  // Launches the graph of `key`; make_list() says what is in it when there is none yet. False:
  // there is no memory for it, and nothing was launched. Throws what make_list() throws, and what
  // Device::check() does.
  template <typename MakeList>
  bool launch(const Key& key, MakeList make_list) {
    Entry* found = nullptr;
    for (Entry& entry : entries_) {
      if (entry.key == key) found = &entry;
    }
    if (!found) {
      if (entries_.size() >= kMost) remove_oldest();
      CUgraphExec graph = nullptr;
      const CUresult result = record(make_list(), graph);
      if (result == CUDA_ERROR_OUT_OF_MEMORY) return clear(), false;
      device_.check(result, "making a graph of a step");
      entries_.push_back({key, graph, 0});
      found = &entries_.back();
    }
    found->last_use = ++num_uses_;
    // The first launch brings it to the device.
    const CUresult result = device_.driver().cuGraphLaunch(found->graph, device_.stream());
    if (result == CUDA_ERROR_OUT_OF_MEMORY) return clear(), false;
    device_.check(result, "launching a step");
    return true;
  }

  // What graphs point to has moved.
  void clear() {
    for (const Entry& entry : entries_) device_.driver().cuGraphExecDestroy(entry.graph);
    entries_.clear();
  }

 private:
  static constexpr size_t kMost = 64;
  struct Entry {
    Key key;
    CUgraphExec graph;
    uint64_t last_use;
  };

  void remove_oldest() {
    auto oldest = entries_.begin();
    for (auto entry = entries_.begin(); entry != entries_.end(); ++entry) {
      if (entry->last_use < oldest->last_use) oldest = entry;
    }
    device_.driver().cuGraphExecDestroy(oldest->graph);
    entries_.erase(oldest);
  }

  CUresult record(const LaunchList& list, CUgraphExec& exec) const {
    const Driver& driver = device_.driver();
    // Kernels are looked up before: a stream that is recorded takes no other calls.
    for (const Launch& launch : list) device_.kernel(launch.kernel);
    device_.check(
        driver.cuStreamBeginCapture_v2(device_.stream(), CU_STREAM_CAPTURE_MODE_THREAD_LOCAL),
        "recording a step");
    CUgraph graph = nullptr;
    try {
      device_.run(list);
    } catch (...) {
      driver.cuStreamEndCapture(device_.stream(), &graph);
      if (graph) driver.cuGraphDestroy(graph);
      throw;
    }
    device_.check(driver.cuStreamEndCapture(device_.stream(), &graph), "recording a step");
    const CUresult result = driver.cuGraphInstantiateWithFlags(&exec, graph, 0);
    driver.cuGraphDestroy(graph);
    return result;
  }

  const Device& device_;
  std::vector<Entry> entries_;
  uint64_t num_uses_ = 0;
};

}  // namespace sluice::backend::cuda
