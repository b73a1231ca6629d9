#include "backend/cuda/forms.h"

#include "base/error.h"

namespace sluice::backend::cuda {
namespace {

// How an operation uses a buffer.
struct Use {
  bool reads_floats = false, reads_halves = false, writes = false, overwrites = false;
};

Use use_of(const Op& op, const OpForms& forms, BufferId id) {
  Use use;
  const auto reads = [&](BufferId in) { use.reads_floats |= in == id; };
  const auto writes = [&](BufferId out, bool accumulates = false) {
    if (out != id) return;
    use.writes = true;
    use.overwrites |= !accumulates;
    use.reads_floats |= accumulates;
  };
  if (const auto* embed = std::get_if<Embed>(&op)) writes(embed->out);
  if (const auto* receive = std::get_if<Receive>(&op)) writes(receive->out);
  if (const auto* norm = std::get_if<RmsNorm>(&op)) {
    reads(norm->in);
    writes(norm->out, norm->accumulate);
  }
  if (const auto* linear = std::get_if<Linear>(&op)) {
    use.reads_halves |= linear->in == id;
    for (const LinearPart& part : linear->parts) {
      if (!forms.is_joined) writes(part.out, part.accumulate);
    }
  }
  if (const auto* rope = std::get_if<RopeStore>(&op)) {
    reads(rope->q);
    reads(rope->k);
    reads(rope->v);
    writes(rope->q, true);
  }
  if (const auto* attention = std::get_if<Attention>(&op)) {
    reads(attention->q);
    writes(attention->out);
  }
  if (const auto* gated = std::get_if<GatedActivation>(&op)) {
    if (!forms.is_joined) {
      reads(gated->gate);
      reads(gated->up);
    }
    writes(gated->out);
  }
  if (const auto* gather = std::get_if<GatherRows>(&op)) {
    (forms.gathers_halves ? use.reads_halves : use.reads_floats) |= gather->in == id;
    writes(gather->out);
  }
  if (const auto* cap = std::get_if<SoftCap>(&op)) writes(cap->buffer, true);
  return use;
}

// What an operation writes that can write halves; -1: it cannot.
BufferId output_of(const Op& op, const OpForms& forms) {
  if (const auto* norm = std::get_if<RmsNorm>(&op)) return norm->out;
  if (const auto* attention = std::get_if<Attention>(&op)) return attention->out;
  if (const auto* gated = std::get_if<GatedActivation>(&op)) return gated->out;
  if (const auto* gather = std::get_if<GatherRows>(&op); gather && forms.gathers_halves) {
    return gather->out;
  }
  return -1;
}

// How often a matrix is multiplied with or rows of it are looked up.
int count_readers(const Program& program, WeightId id) {
  int count = 0;
  for (const Op& op : program.ops) {
    if (const auto* embed = std::get_if<Embed>(&op)) count += embed->table == id;
    if (const auto* linear = std::get_if<Linear>(&op)) {
      for (const LinearPart& part : linear->parts) count += part.weight == id;
    }
  }
  return count;
}

// What is read of a buffer as operation `at` leaves it, by all up to who overwrites it.
Use uses_behind(const Program& program, size_t at, BufferId id) {
  Use all;
  for (size_t later = at + 1; later < program.ops.size() && !all.overwrites; ++later) {
    const Use use = use_of(program.ops[later], {}, id);
    all.reads_floats |= use.reads_floats;
    all.reads_halves |= use.reads_halves;
    all.overwrites |= use.overwrites;
  }
  all.reads_floats |= id == program.state || id == program.hidden || id == program.logits;
  return all;
}

// Of the Linear at `at`.
bool is_gated_product(const Program& program, size_t at) {
  if (at + 1 >= program.ops.size()) return false;
  const auto* linear = std::get_if<Linear>(&program.ops[at]);
  const auto* gated = std::get_if<GatedActivation>(&program.ops[at + 1]);
  if (!linear || !gated || linear->parts.size() != 2) return false;
  const LinearPart &gate = linear->parts[0], &up = linear->parts[1];
  if (gate.out != gated->gate || up.out != gated->up || gate.out == up.out) return false;
  if (gate.accumulate || up.accumulate || linear->in == gated->out) return false;

  const Weight& a = program.weights[static_cast<size_t>(gate.weight)];
  const Weight& b = program.weights[static_cast<size_t>(up.weight)];
  if (a.type != b.type || a.rows != b.rows || a.columns != b.columns) return false;
  if (count_readers(program, gate.weight) != 1 || count_readers(program, up.weight) != 1) {
    return false;
  }
  for (const BufferId id : {gate.out, up.out}) {
    if (id == gated->out) continue;
    const Use use = uses_behind(program, at + 1, id);
    if (use.reads_floats || use.reads_halves) return false;
  }
  const Use use = uses_behind(program, at + 1, gated->out);
  return use.reads_halves && !use.reads_floats;
}

// Rows of attention's are gathered as it writes them: as halves, before the last layer's output.
void find_gathered_halves(const Program& program, std::vector<OpForms>& forms) {
  std::vector<bool> is_attentions(program.buffers.size(), false);
  for (size_t i = 0; i < program.ops.size(); ++i) {
    const Op& op = program.ops[i];
    if (const auto* gather = std::get_if<GatherRows>(&op)) {
      forms[i].gathers_halves = is_attentions[static_cast<size_t>(gather->in)];
    }
    for (size_t id = 0; id < program.buffers.size(); ++id) {
      if (use_of(op, forms[i], static_cast<BufferId>(id)).writes) is_attentions[id] = false;
    }
    if (const auto* attention = std::get_if<Attention>(&op)) {
      is_attentions[static_cast<size_t>(attention->out)] = true;
    }
  }
}

}  // namespace

std::vector<bool> find_gated_products(const Program& program) {
  std::vector<bool> found(program.ops.size());
  for (size_t i = 0; i < program.ops.size(); ++i) found[i] = is_gated_product(program, i);
  return found;
}

ProgramForms find_forms(const Program& program) {
  ProgramForms forms;
  forms.buffers.resize(program.buffers.size());
  forms.ops.resize(program.ops.size());
  const std::vector<bool> is_gated = find_gated_products(program);
  for (size_t i = 0; i < program.ops.size(); ++i) {
    forms.ops[i].is_joined = is_gated[i] || (i > 0 && is_gated[i - 1]);
  }
  find_gathered_halves(program, forms.ops);
  std::vector<bool> has_fresh_halves(program.buffers.size(), false);
  for (size_t i = 0; i < program.ops.size(); ++i) {
    const Op& op = program.ops[i];
    OpForms& mine = forms.ops[i];
    if (const auto* linear = std::get_if<Linear>(&op)) {
      const auto in = static_cast<size_t>(linear->in);
      mine.converts_input = !has_fresh_halves[in];
      forms.buffers[in].has_halves = true;
      has_fresh_halves[in] = true;
    }
    for (size_t id = 0; id < program.buffers.size(); ++id) {
      const Use use = use_of(op, mine, static_cast<BufferId>(id));
      if (use.reads_floats) forms.buffers[id].has_floats = true;
      if (use.writes) has_fresh_halves[id] = false;
    }
    // What reads the result, up to where it is overwritten, says in which forms it is wanted.
    const BufferId out = output_of(op, mine);
    if (out < 0) {
      for (size_t id = 0; id < program.buffers.size(); ++id) {
        if (use_of(op, mine, static_cast<BufferId>(id)).writes) forms.buffers[id].has_floats = true;
      }
      continue;
    }
    const auto* norm = std::get_if<RmsNorm>(&op);
    mine.writes_floats = (norm && norm->accumulate) || out == program.hidden;
    for (size_t later = i + 1; later < program.ops.size(); ++later) {
      const Use use = use_of(program.ops[later], forms.ops[later], out);
      mine.writes_floats |= use.reads_floats;
      mine.writes_halves |= use.reads_halves;
      if (use.overwrites) break;
    }
    const auto id = static_cast<size_t>(out);
    forms.buffers[id].has_floats |= mine.writes_floats;
    forms.buffers[id].has_halves |= mine.writes_halves;
    has_fresh_halves[id] = mine.writes_halves;
    const bool has_halves_only = std::holds_alternative<Attention>(op) || mine.gathers_halves;
    if (has_halves_only && mine.writes_floats) {
      throw Error(ErrorCode::kUnsupported,
                  "the CUDA backend's attention writes for matrix products only");
    }
  }
  return forms;
}

}  // namespace sluice::backend::cuda
