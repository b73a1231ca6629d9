#include "monitor/lists.h"

#include <gtest/gtest.h>

#include "base/print.h"
#include "monitor/example_view.h"

namespace sluice::monitor {
namespace {

// With 200 requests, of which number i has the id 1000 + i.
View crowded_view() {
  View view = example_view();
  view.now.server.requests.resize(200, view.now.server.requests.back());
  for (size_t i = 0; i < 200; ++i) view.now.server.requests[i].id = 1000 + i;
  return view;
}

bool has(const ListScreen& screen, const std::string& text) {
  for (const Line& line : screen.lines) {
    if (line.text.find(text) != std::string::npos) return true;
  }
  return false;
}

TEST(Lists, ShowAStretchOfTheRequests) {
  const ListScreen top = list_screen(crowded_view(), ListKind::kRequests, 0, 110, 22);
  EXPECT_EQ(top.lines.size(), 22u);
  EXPECT_EQ(top.lines[0].text, "tokens/s: in 120.2, out 61.5");
  EXPECT_TRUE(top.lines[1].text.find("prompt  cached") != std::string::npos);
  EXPECT_TRUE(has(top, "  1000  "));
  EXPECT_TRUE(has(top, "  1019  "));
  EXPECT_EQ(top.place_text(), "1-20 of 200");
  const ListScreen middle = list_screen(crowded_view(), ListKind::kRequests, 57, 110, 22);
  EXPECT_TRUE(has(middle, "  1057  "));
  EXPECT_FALSE(has(middle, "  1056  "));
}

TEST(Lists, EndWithTheirLastRow) {
  for (const size_t first : {size_t{181}, size_t{200}, ~size_t{0}}) {
    const ListScreen end = list_screen(crowded_view(), ListKind::kRequests, first, 110, 22);
    EXPECT_EQ(end.first, 180u);
    EXPECT_TRUE(has(end, "  1199  "));
  }
  View few = example_view();
  EXPECT_EQ(list_screen(few, ListKind::kRequests, 3, 110, 22).first, 0u);
  few.now.server.requests.clear();
  const ListScreen none = list_screen(few, ListKind::kRequests, 3, 110, 22);
  EXPECT_EQ(none.place_text(), "none");
}

TEST(Lists, AnyKindFitsAnyScreen) {
  View view = crowded_view();
  view.now.server.models.resize(40, view.now.server.models.front());
  view.now.server.models[0].parts = {{"cuda:0", 12, 1, 2, 3}, {"cpu", 20, 1, 2, 3}};
  view.threads.resize(300, {.id = 1, .name = "cpu-worker-with-a-long-name", .cpu_share = 12});
  view.others.resize(100, {.pid = 9, .name = "cc1plus", .cpu_share = 0.97});
  for (ListKind kind :
       {ListKind::kRequests, ListKind::kModels, ListKind::kThreads, ListKind::kProcesses}) {
    for (const int width : {1, 20, 40, 80, 200}) {
      for (const int height : {1, 3, 4, 24, 49}) {
        const ListScreen screen = list_screen(view, kind, 7, width, height);
        EXPECT_LE(screen.lines.size(), static_cast<size_t>(height));
        EXPECT_GE(screen.num_shown, 1u) << list_name(kind) << " " << width << "x" << height;
        for (const Line& line : screen.lines) {
          EXPECT_LE(display_width(line.text), static_cast<size_t>(width));
        }
      }
    }
  }
  EXPECT_TRUE(has(list_screen(view, ListKind::kModels, 0, 80, 24), "cuda:0  12 layers"));
}

// 20x5: what counts comes first, in a few columns.
TEST(Lists, SayWhatMattersOnATinyScreen) {
  View view = crowded_view();
  const ListScreen requests = list_screen(view, ListKind::kRequests, 0, 20, 4);
  EXPECT_TRUE(has(requests, "1000 replying 120"));
  view.others = {{.pid = 9, .name = "cc1plus", .cpu_share = 0.97}};
  EXPECT_TRUE(has(list_screen(view, ListKind::kThreads, 0, 20, 4), " 99% cpu-worker-1"));
  EXPECT_TRUE(has(list_screen(view, ListKind::kProcesses, 0, 20, 4), " 97% cc1plus (9)"));
}

TEST(Lists, ProcessesOnACardAreShown) {
  View view = example_view();
  view.now.processes = {{.pid = 812, .name = "python3", .ticks = 1}};
  view.now.gpus[0].processes = {{.pid = 77, .memory_bytes = 40'000'000'000},
                                {.pid = 812, .memory_bytes = 2'000'000'000}};
  const ListScreen screen = list_screen(view, ListKind::kProcesses, 0, 110, 20);
  EXPECT_TRUE(has(screen, "190%           40 GB  the server (77)")) << screen.lines[2].text;
  EXPECT_TRUE(has(screen, "0%            2 GB  python3 (812)")) << screen.lines[3].text;
}

TEST(Lists, LetNoControlCharactersThrough) {
  View view = example_view();
  view.others = {{.pid = 9, .name = "\x1b[2Jevil", .cpu_share = 0.97}};
  view.threads[0].name = "thr\tead\xff";
  view.now.server.requests[0].model = "\x1b]0;x";
  for (ListKind kind : {ListKind::kRequests, ListKind::kThreads, ListKind::kProcesses}) {
    for (const Line& line : list_screen(view, kind, 0, 110, 20).lines) {
      for (const char c : line.text) EXPECT_GE(static_cast<unsigned char>(c), 0x20) << line.text;
    }
  }
}

TEST(Lists, GoRoundAndHelpSaysWhichKeys) {
  ListKind kind = ListKind::kRequests;
  for (int i = 0; i < 4; ++i) kind = next_list(kind);
  EXPECT_EQ(kind, ListKind::kRequests);
  for (const int width : {40, 80}) {
    std::string text;
    for (const Line& line : help_lines(width)) {
      EXPECT_LE(display_width(line.text), static_cast<size_t>(width));
      text += line.text + "\n";
    }
    for (const char* key : {"q:", "Tab:", "PgUp", "s:", "x:"}) {
      EXPECT_NE(text.find(key), std::string::npos) << text;
    }
  }
}

}  // namespace
}  // namespace sluice::monitor
