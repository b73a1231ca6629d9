#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "backend/cpu/ceilings.h"
#include "base/print.h"
#include "base/threads.h"
#include "base/units.h"
#include "cli/commands.h"
#include "cli/server_link.h"
#include "cli/terminal.h"

namespace sluice::cli {
namespace {

struct ExplainFlags {
  std::string id;
  bool is_json = false;
  bool wants_steps = false;
  bool measures = false;
};

int64_t count_of(const api::Json& object, const char* name) {
  return api::int_field(object, name, INT64_MIN, INT64_MAX).value_or(0);
}
std::string text_of(const api::Json& object, const char* name) {
  return api::string_field(object, name).value_or("");
}

std::string time_of(const api::Json& object, const char* name) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f ms", static_cast<double>(count_of(object, name)) / 1e6);
  return text;
}

std::vector<std::string> request_row(const api::Json& request) {
  const std::string state = text_of(request, "state");
  std::string end = text_of(request, "finish_reason");
  if (state != "ended") {
    end = state;
  } else if (end.empty()) {
    end = "status " + std::to_string(count_of(request, "status"));
  }
  return {text_of(request, "id"),
          text_of(request, "model"),
          std::to_string(count_of(request, "prompt_tokens")),
          std::to_string(count_of(request, "output_tokens")),
          time_of(request, "total_ns"),
          end,
          relative_time(text_of(request, "arrived_at"))};
}

void list_latest(ServerLink& link, bool is_json) {
  const api::Json reply = link.call("GET", "/api/sluice/requests?limit=30");
  if (is_json) {
    std::printf("%s\n", api::dump_json(reply).c_str());
    return;
  }
  std::vector<std::vector<std::string>> rows = {
      {"ID", "MODEL", "PROMPT", "REPLY", "TIME", "END", "ARRIVED"}};
  const api::Json* requests = api::array_field(reply, "requests");
  for (const api::Json& request : requests ? *requests : api::Json::array()) {
    rows.push_back(request_row(request));
  }
  print_table(rows);
}

void print_live(const api::Json& life) {
  const std::string state = text_of(life, "state");
  std::printf("It is under way (%s), for %s so far.\n", printable(state).c_str(),
              time_of(life, "total_ns").c_str());
  if (state == "waiting") {
    std::printf("It is number %lld of the queue.\n",
                static_cast<long long>(count_of(life, "queue_position")));
  } else if (state == "running") {
    std::printf("%lld of %lld prompt tokens are computed, the reply has %lld.\n",
                static_cast<long long>(count_of(life, "prefilled_tokens")),
                static_cast<long long>(count_of(life, "prompt_tokens")),
                static_cast<long long>(count_of(life, "output_tokens")));
  }
}

void print_steps(const api::Json& life) {
  std::vector<std::vector<std::string>> rows = {
      {"AT", "WHAT", "STEPS", "TOKENS", "REQUESTS", "OTHERS' PROMPTS", "FORWARD", "LASTED"}};
  const api::Json* parts = api::array_field(life, "parts");
  for (const api::Json& part : parts ? *parts : api::Json::array()) {
    const api::Json* spans = api::array_field(part, "spans");
    for (const api::Json& span : spans ? *spans : api::Json::array()) {
      const bool is_prefill = text_of(span, "kind") == "prefill";
      char requests[32];
      std::snprintf(requests, sizeof requests, "%.1f",
                    api::number_field(span, "mean_sequences").value_or(0));
      api::Json lasted = {{"ns", count_of(span, "end_ns") - count_of(span, "begin_ns")}};
      rows.push_back(
          {time_of(span, "begin_ns"),
           std::string(is_prefill ? "prefill" : "decode") +
               (api::bool_field(span, "was_preempted").value_or(false) ? " (again)" : ""),
           std::to_string(count_of(span, "steps")),
           std::to_string(count_of(span, is_prefill ? "prompt_tokens" : "output_tokens")), requests,
           std::to_string(count_of(span, "other_prompt_tokens")), time_of(span, "forward_ns"),
           time_of(lasted, "ns")});
    }
  }
  std::printf("\n");
  print_table(rows);
}

// What the memory of this machine allows: each step reads all weights once.
void print_ceiling(const api::Json& life) {
  const auto weights = static_cast<double>(count_of(life, "weights_bytes"));
  const bool is_on_cpu = text_of(life, "backend").starts_with("cpu");
  if (weights <= 0 || !is_on_cpu) {
    std::printf("The memory's speed says nothing about this request.\n");
    return;
  }
  const double bandwidth = backend::cpu::measure_read_bandwidth(usable_cores());
  std::printf(
      "This machine's memory gives %.1f GB/s now: at most %.0f steps/s of %s of weights "
      "(more where they fit into the processor's cache).\n",
      bandwidth / 1e9, bandwidth / weights, format_bytes(static_cast<uint64_t>(weights)).c_str());
}

void explain(const ExplainFlags& flags) {
  ServerLink link = ServerLink::connect(read_settings());
  if (flags.id.empty()) {
    list_latest(link, flags.is_json);
    return;
  }
  const api::Json life = link.call("GET", "/api/sluice/requests/" + flags.id);
  if (flags.is_json) {
    std::printf("%s\n", api::dump_json(life).c_str());
    return;
  }
  if (text_of(life, "state") != "ended") {
    print_live(life);
    return;
  }
  const api::Json* sentences = api::array_field(life, "explanation");
  for (const api::Json& sentence : sentences ? *sentences : api::Json::array()) {
    if (!sentence.is_string()) continue;
    std::printf("%s\n", printable(sentence.get<std::string>()).c_str());
  }
  if (flags.measures) print_ceiling(life);
  if (flags.wants_steps) print_steps(life);
}

}  // namespace

void add_explain(Command& program) {
  auto flags = std::make_shared<ExplainFlags>();
  Command command = program.subcommand(
      "explain",
      "Tell the life of a request: where its time went, why it ended; without an id, the latest");
  command.option("REQUEST_ID", flags->id, "The X-Request-Id of its reply");
  command.flag("--steps", flags->wants_steps, "Also list what the steps did for it");
  command.flag("--measure", flags->measures,
               "Also measure what this machine's memory allows (takes a second and 1 GB)");
  command.flag("--json", flags->is_json, "Print the server's JSON");
  command.action([flags] { explain(*flags); });
}

}  // namespace sluice::cli
