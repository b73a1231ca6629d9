// /v1/responses: any body is parsed or refused with Error; what was accepted is answered, whole and
// as a stream, and the next body may go on from it. The bodies stand one behind the other, a zero
// byte between them.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <utility>

#include "api/chat_context.h"
#include "api/openai.h"
#include "api/openai_responses.h"
#include "base/error.h"

namespace {

using namespace sluice;

// Whatever is asked for is the response before.
class LastResponse : public api::openai::ResponseMemory {
 public:
  std::shared_ptr<const api::openai::KeptResponse> find(const std::string&) override {
    return last_;
  }
  void keep(api::openai::KeptResponse response) override {
    api::parse_json(response.body);
    if (api::openai::size_of(response) < response.body.size()) __builtin_trap();
    last_ = std::make_shared<const api::openai::KeptResponse>(std::move(response));
  }

 private:
  std::shared_ptr<const api::openai::KeptResponse> last_;
};

void answer(LastResponse& memory, std::string_view body) {
  Work work;
  const auto dialect = api::openai::make_response({}, memory);
  const api::GenerationRequest request = dialect->parse(body, work);
  engine::Request engine_request;
  api::apply_options(request.options, engine_request);
  const auto messages = api::compose_messages(request, {});
  api::chat_context(messages, request.tools, request.think, {});
  api::Choice choice;
  if (!messages.empty()) {
    const api::Message& last = messages.back();
    choice.piece = {last.content, last.thinking, last.tool_calls, {{"a", -1, {}}}, 0};
  }
  if (!request.stream) {
    api::parse_json(dialect->whole({&choice, 1}));
    return;
  }
  dialect->first(1);
  dialect->piece(choice.piece);
  dialect->end(choice.end);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view rest(reinterpret_cast<const char*>(data), size);
  LastResponse memory;
  while (!rest.empty()) {
    const size_t end = std::min(rest.find('\0'), rest.size());
    try {
      answer(memory, rest.substr(0, end));
    } catch (const Error& error) {
      if (std::string_view(error.what()).find('\n') != std::string_view::npos) __builtin_trap();
    }
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return 0;
}
