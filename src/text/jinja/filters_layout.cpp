#include <algorithm>

#include "text/jinja/interpreter.h"
#include "text/jinja/ops.h"
#include "text/jinja/string_tools.h"
#include "text/jinja/unicode.h"

// Filters that lay out lines.
namespace sluice::text::jinja {

namespace {

using Args = const CallArgs&;

std::string indent_of(Heap& heap, const Val& width) {
  if (width.is_string()) return width.text();
  int64_t count = width.is_missing() ? 4 : to_index(width, "an indent");
  count = std::max<int64_t>(count, 0);
  heap.check_bytes(static_cast<size_t>(count));
  heap.charge_bytes(static_cast<size_t>(count));
  return std::string(static_cast<size_t>(count), ' ');
}

Val indent(Interpreter& interpreter, const Val& value, Args args) {
  Vals bound = bind(args, "indent", "width? first? blank?");
  Heap& heap = interpreter.heap();
  if (!value.is_string()) throw_type_error("indent", value);
  std::string prefix = indent_of(heap, bound[0]);
  bool first = !bound[1].is_missing() && is_true(bound[1]);
  bool blank = !bound[2].is_missing() && is_true(bound[2]);
  heap.check_bytes(value.text().size() * sizeof(std::string_view));
  std::string text = value.text() + "\n", out = first ? prefix : "";
  std::vector<std::string_view> lines = split_lines(text, false);
  for (size_t i = 0; i < lines.size(); ++i) {
    if (i > 0) {
      out.push_back('\n');
      if (blank || !lines[i].empty()) out += prefix;
    }
    heap.charge_bytes(64 + prefix.size());
    heap.check_bytes(2 * out.size() + lines[i].size());
    out += lines[i];
  }
  return interpreter.string(std::move(out), value.is_markup());
}

Val refuse(Interpreter&, const Val&, Args) {
  throw TemplateError("the filters wordwrap and urlize are not supported");
}

// pprint.pformat with its width of 80: one line when it fits, else one item a line.
class PrettyPrinter {
 public:
  explicit PrettyPrinter(Heap& heap) : heap_(heap) {}

  std::string print(const Val& value) {
    format(value, 0, 0);
    return std::move(out_);
  }

 private:
  static constexpr size_t kWidth = 80;

  // Like repr, but mappings in order of their keys.
  Val sorted(const Val& value) {
    heap_.charge(1);
    if (value.is_sequence()) {
      Vals items;
      for (const Val& item : value.items()) items.push_back(sorted(item));
      return Val(new SequenceObject(heap_, value.type(), std::move(items)));
    }
    if (!value.is(Type::kDict)) return value;
    DictObject::Items items = value.as<DictObject>().items();
    std::stable_sort(items.begin(), items.end(), [](const auto& a, const auto& b) {
      bool comparable = (a.first.is_number() && b.first.is_number()) ||
                        (a.first.is_string() && b.first.is_string());
      return comparable ? is_less(a.first, b.first) : type_name(a.first) < type_name(b.first);
    });
    auto* dict = new DictObject(heap_);
    Val result(dict);
    for (auto& [key, member] : items) dict->set(key, sorted(member));
    return result;
  }

  // `indent`: column where the value begins; `allowance`: characters that follow on its last line.
  void format(const Val& unsorted, size_t indent, size_t allowance) {
    Val value = sorted(unsorted);
    std::string repr = to_repr(heap_, value);
    heap_.charge(1);
    heap_.check_bytes(2 * out_.size() + repr.size() + indent);
    bool fits = count_code_points(repr) + indent + allowance <= kWidth;
    bool is_dict = value.is(Type::kDict) && length_of(value) > 0;
    if (fits || (!is_dict && !value.is_sequence())) {
      out_ += repr;
    } else if (is_dict) {
      format_dict(value.as<DictObject>().items(), indent, allowance);
    } else {
      bool is_list = value.is(Type::kList);
      const char* close = is_list ? "]" : value.items().size() == 1 ? ",)" : ")";
      out_ += is_list ? '[' : '(';
      format_items(value.items(), indent + 1, allowance + std::string_view(close).size());
      out_ += close;
    }
  }

  void format_items(const Vals& items, size_t indent, size_t allowance) {
    for (size_t i = 0; i < items.size(); ++i) {
      if (i > 0) out_ += ",\n" + std::string(indent, ' ');
      format(items[i], indent, i + 1 < items.size() ? 1 : allowance);
    }
  }

  void format_dict(const DictObject::Items& items, size_t indent, size_t allowance) {
    out_ += "{";
    for (size_t i = 0; i < items.size(); ++i) {
      if (i > 0) out_ += ",\n" + std::string(indent + 1, ' ');
      std::string key = to_repr(heap_, items[i].first) + ": ";
      out_ += key;
      format(items[i].second, indent + 1 + count_code_points(key),
             i + 1 < items.size() ? 1 : allowance + 1);
    }
    out_ += "}";
  }

  Heap& heap_;
  std::string out_;
};

Val pretty_print(Interpreter& interpreter, const Val& value, Args args) {
  bind(args, "pprint", "");
  return interpreter.string(PrettyPrinter(interpreter.heap()).print(value));
}

}  // namespace

const FilterTable& layout_filters() {
  static const FilterTable table = {
      {"indent", indent}, {"pprint", pretty_print}, {"wordwrap", refuse}, {"urlize", refuse}};
  return table;
}

}  // namespace sluice::text::jinja
