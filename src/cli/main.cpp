#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <new>
#include <string>
#include <string_view>

#include "base/error.h"
#include "cli/commands.h"
#include "cli/terminal.h"
#include "server/version.h"

namespace {

constexpr const char* kExamples = R"(
Examples:
  sluice run smollm2:135m                        chat in the terminal
  sluice run smollm2:135m "why is the sky blue?" one reply, then the end
  cat notes.txt | sluice run smollm2:135m "sum this up"
  sluice run ./model.gguf                        run a file, without a store or server
  sluice pull llama3.2:1b                        fetch a model from a registry
  sluice import model.gguf mine:7b               put a file into the store
  sluice serve                                   answer Ollama's and OpenAI's clients on port 11434
  sluice key add ann                             make an API key, to serve other machines
  sluice plan llama3.1:70b --gpu a100-80         what it needs, how fast it can be
  sluice loadtest                                measure a running server
  sluice top                                     watch it

Each command explains itself: sluice COMMAND --help
Settings come from flags, then SLUICE_HOST, SLUICE_MODELS, SLUICE_KEEP_ALIVE,
SLUICE_CONTEXT_LENGTH, SLUICE_MAX_QUEUE, SLUICE_MAX_LOADED_MODELS, SLUICE_MAX_MEMORY,
SLUICE_KV_CACHE_TYPE, SLUICE_GPU_LAYERS, SLUICE_SPECULATE, SLUICE_REQUEST_TIMEOUT,
SLUICE_ORIGINS, SLUICE_DEBUG, SLUICE_NOHISTORY, SLUICE_OFFLINE, SLUICE_RUNS, SLUICE_KEYS,
SLUICE_ALLOW_ANONYMOUS, SLUICE_TLS_CERT, SLUICE_TLS_KEY, then the same names with OLLAMA_, then the
defaults. SLUICE_API_KEY is the key that these commands send to a server.)";

void add_commands(sluice::cli::Command& program) {
  using namespace sluice::cli;
  add_run(program);
  add_serve(program);
  add_list(program);
  add_ps(program);
  add_show(program);
  add_rm(program);
  add_pull(program);
  add_push(program);
  add_cp(program);
  add_doctor(program);
  add_stop(program);
  add_import(program);
  add_quantize(program);
  add_export(program);
  add_create(program);
  add_tokenize(program);
  add_render(program);
  add_perplexity(program);
  add_plan(program);
  add_bench(program);
  add_loadtest(program);
  add_report(program);
  add_top(program);
  add_key(program);
  add_explain(program);
  add_usage(program);
  add_version(program);
  add_completion(program);
}

int run(int argc, char** argv) {
  const sluice::cli::ProgramText text = {
      .name = "sluice",
      .description = "Runs language models on this machine: deploy, chat, serve, measure, watch.",
      .version = "sluice version " + std::string(sluice::server::kVersion),
      .footer = kExamples,
  };
  return sluice::cli::run_command_line(text, add_commands, argc, argv);
}

// A descriptor that is closed would be taken by the first file or socket that is opened, which then
// gets what is printed. Input is empty in its place; output fails, as it should.
void occupy_standard_descriptors() {
  for (const int descriptor : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (fcntl(descriptor, F_GETFD) < 0 && errno == EBADF) open("/dev/null", O_RDONLY);
  }
}

// Libraries end the program when their destructors find no memory (nlohmann-json's allocate): that,
// too, is a line and a status.
[[noreturn]] void end_with_a_line() {
  if (const std::exception_ptr failure = std::current_exception()) {
    try {
      std::rethrow_exception(failure);
    } catch (const std::bad_alloc&) {
      constexpr std::string_view kLine = "Error: not enough memory\n";
      [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, kLine.data(), kLine.size());
      _exit(1);
    } catch (...) {
    }
  }
  std::abort();
}

int status_of(const sluice::Error& error) {
  return error.code() == sluice::ErrorCode::kCancelled ? 130 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  occupy_standard_descriptors();
  std::set_terminate(end_with_a_line);
  std::signal(SIGXFSZ, SIG_IGN);  // a file-size limit is an error of write(), told like a full disk
  try {
    const int status = run(argc, argv);
    sluice::cli::flush_output();
    return status;
  } catch (const sluice::Error& error) {
    sluice::cli::print_error(error.what());
    return status_of(error);
  } catch (const std::bad_alloc&) {
    std::fputs("Error: not enough memory\n", stderr);
  } catch (const std::exception& error) {
    sluice::cli::print_error(error.what());
  }
  return 1;
}
