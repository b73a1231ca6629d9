#include "server/page.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>

#include "base/error.h"
#include "server/page_files.h"

namespace sluice::server {
namespace {

constexpr std::string_view kFolder = "/web/";

// Nothing from elsewhere, no script or style within the page, no text that becomes one: what a
// model writes stays what it is, also where a filter before this has a hole.
constexpr std::string_view kPolicy =
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types dompurify";

std::string_view content_type_of(std::string_view name) {
  static constexpr std::array<std::pair<std::string_view, std::string_view>, 4> kTypes = {{
      {".html", "text/html; charset=utf-8"},
      {".js", "text/javascript; charset=utf-8"},
      {".css", "text/css; charset=utf-8"},
      {".svg", "image/svg+xml"},
  }};
  for (const auto& [ending, type] : kTypes) {
    if (name.ends_with(ending)) return type;
  }
  return "application/octet-stream";
}

// With what a browser asks whether it has the file already: FNV-1a of its bytes.
std::string tag_of(std::string_view text) {
  uint64_t hash = 0xcbf29ce484222325u;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  return fmt::format("\"{:016x}\"", hash);
}

struct TaggedFile {
  std::string_view text;
  std::string tag;
};

const std::map<std::string_view, TaggedFile>& all_files() {
  static const auto files = [] {
    std::map<std::string_view, TaggedFile> map;
    for (const PageFile& file : page_files()) map[file.name] = {file.text, tag_of(file.text)};
    return map;
  }();
  return files;
}

Reply file_reply(std::string_view name, const HttpRequest& request) {
  const auto found = all_files().find(name);
  if (found == all_files().end()) {
    throw Error(ErrorCode::kNotFound, "the page has no file '" + std::string(name) + "'");
  }
  const TaggedFile& file = found->second;
  Reply reply{200, std::string(content_type_of(name)), std::string(file.text), {}};
  const std::string* known = request.header("if-none-match");
  if (known && known->find(file.tag) != std::string::npos) {
    reply.status = 304;
    reply.body.clear();
  }
  reply.headers = {{"ETag", file.tag},
                   {"Cache-Control", "no-cache"},
                   {"Content-Security-Policy", std::string(kPolicy)},
                   {"X-Content-Type-Options", "nosniff"},
                   {"X-Frame-Options", "DENY"},
                   {"Referrer-Policy", "no-referrer"},
                   {"Cross-Origin-Opener-Policy", "same-origin"},
                   {"Cross-Origin-Resource-Policy", "same-origin"}};
  return reply;
}

bool accepts_html(const HttpRequest& request) {
  const std::string* accept = request.header("accept");
  return accept && accept->find("text/html") != std::string::npos;
}

}  // namespace

Reply say_home(const ServerContext&, const HttpRequest& request, Work&) {
  Reply reply = accepts_html(request)
                    ? file_reply("index.html", request)
                    : Reply{200, "text/plain; charset=utf-8", "Ollama is running", {}};
  reply.headers.emplace_back("Vary", "Accept");
  return reply;
}

Reply give_page_file(const ServerContext&, const HttpRequest& request, Work&) {
  return file_reply(std::string_view(request.path).substr(kFolder.size()), request);
}

}  // namespace sluice::server
