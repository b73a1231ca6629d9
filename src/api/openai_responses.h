#pragma once

#include <memory>
#include <string>
#include <vector>

#include "api/dialect.h"

namespace sluice::api::openai {

// What a response leaves behind for the requests that go on from it.
struct KeptResponse {
  std::string id;
  std::string body;               // as it was answered, or would have been as a whole
  std::vector<Message> messages;  // the conversation with its reply, without instructions
};

// Where those are, of one client: another one's are not there. Used by threads at once.
class ResponseMemory {
 public:
  virtual ~ResponseMemory() = default;
  // Null when it is not there, or not any more.
  virtual std::shared_ptr<const KeptResponse> find(const std::string& id) = 0;
  // What is too large is dropped.
  virtual void keep(KeptResponse response) = 0;
};

// /v1/responses. `memory` must outlive the dialect.
std::unique_ptr<Dialect> make_response(const Stamp& stamp, ResponseMemory& memory);

// How much one response may leave, and what it takes.
inline constexpr size_t kMaxKeptBytes = size_t{4} << 20;
size_t size_of(const KeptResponse& response);

}  // namespace sluice::api::openai
