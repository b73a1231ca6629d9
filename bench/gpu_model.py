#!/usr/bin/env python3
"""Predicts how fast the products of the CUDA backend run, without a GPU.

    bench/gpu_model.py [--rows 1,8,16,64] [--prefill 512,2048] [--gpus 2,4] [--apart] [--kernels] [--markdown]

What goes in: what the backend would launch (bench/gpu_launches.cpp, compiled here), what nvcc says of
each kernel (registers, spills), the instructions of its main loop (nvdisasm; if it is missing:
pip install nvidia-cuda-nvdisasm), and the published figures of the machines below.

What comes out, for each product of a model: blocks a multiprocessor; bytes in flight against what
Little's law wants; issue slots and other units' time a byte against what the bandwidth leaves; the
predicted share of the bandwidth while the kernel runs, or of the matrix rate in prefill. Where many rows
make the products take longer than the memory, what the kernel reaches is also given as a share of the
larger of the two ("of the roof").

The model. A multiprocessor takes what it has in flight each latency, or what its busiest unit lets by,
whichever is less; all together what the memory gives. Blocks with fewer tiles end sooner and leave the
memory to the others. A kernel also waits for its first bytes and adds up at its end (FILL, TAIL); with
programmatic launches (sm_90) the first bytes come while the kernel before ends. Where blocks share the
columns of a tile the last one to come is waited for: three ways to the second-level cache and back (what
it left, the count, what others left), then what it reads of the others by its own port. Results are stored
when nothing else goes on: through the second-level cache, and activations by the slow units. Counted are the
instructions of the shortest way through the main loop that meets its products and copies. Units are taken to reach 90%.
"""

import argparse
import collections
import concurrent.futures
import itertools
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
FILL, TAIL = 0.9e-6, 0.6e-6  # seconds
TO_L2 = 0.2e-6               # there and back (chipsandcheese.com, "Nvidia's H100", 2023: 0.15 to 0.2 us)
PORT = 64                    # bytes a clock that a multiprocessor takes from the second-level cache
L2_KEEPS = 40e6              # bytes that one kernel leaves there for the next, of 40 and 50 MB
CARVE_OUTS = [0, 8, 16, 32, 64, 100, 132, 164, 196, 228]  # kB of l1 that shared memory may take
REACHED = 0.9                # of a unit's rate
HOST_COPY, LINK = 10e9, 25e9  # bytes/s: a core copies, PCIe 4.0; rows between GPUs go twice through both
WIDE_SHARE = 0.85            # of the matrix rate, by warpgroups' products (power, gaps between them)


class Machine(collections.namedtuple(
        "Machine", "name arch sms clock spec read l2 l1 shared_block shared_sm in_flight flops mma_share "
        "fp32 gap")):
    """clock in Hz while the tensor cores work; spec, read: bytes/s, published and reachable;
    l2: bytes/s from the second-level cache; l1: bytes, shared memory included; in_flight: bytes a multiprocessor for that; flops: dense f16; mma_share: what mma.sync reaches of it; fp32:
    warps' instructions a clock; gap: seconds between two kernels of a graph."""


# NVIDIA's white papers of A100, H100 and H200 (rates, sizes); read: 1.9 TB/s and 4.3 TB/s measured by
# copies, H100 in proportion; mma.sync on Hopper: Luo et al. 2024, "Dissecting the NVIDIA Hopper
# architecture through microbenchmarking" (62%).
#
# l2: github.com/te42kyfo/gpu-benches, gpu-l2-cache/h200.txt and a100_80.txt, data of 10 to 25 MB: H200 9.7
# TB/s, A100 80 GB 5.4 TB/s. The H200's clock was 1.98 GHz at most: brought to `clock`; both times REACHED,
# as that benchmark does nothing else. H100 SXM: the same chip. (Until 30 November 2026 5.7 TB/s stood here,
# which is what an H100 PCIe of 114 multiprocessors reads at its limit of 350 W.)
L2_H200 = 9.7e12 * 1.755 / 1.98 * 0.9
L2_A100 = 5.4e12 * 0.9
MACHINES = [
    Machine("A100 80 GB", 80, 108, 1.41e9, 2039e9, 1.9e12, L2_A100, 192 << 10, 166912, 167936, 40e3, 312e12, 1.0, 2, 1.3e-6),
    Machine("H100 SXM", 90, 132, 1.755e9, 3350e9, 3.0e12, L2_H200, 256 << 10, 232448, 233472, 50e3, 989e12, 0.62, 4, 0.7e-6),
    Machine("H200", 90, 132, 1.755e9, 4800e9, 4.3e12, L2_H200, 256 << 10, 232448, 233472, 64e3, 989e12, 0.62, 4, 0.7e-6),
]

MIXED = ("Q4_K", "Q5_K", "Q6_K")  # linear_mixed.h

# Instructions by unit.
ALU = {"LOP3", "SHF", "PRMT", "ISETP", "SEL", "IADD3", "VIADD", "LEA", "IMNMX", "VIMNMX", "VIADDMNMX",
       "FSETP", "FMNMX", "I2FP", "F2FP", "PLOP3", "POPC", "IABS", "MOV", "P2R", "R2P"}
FMA = {"FFMA", "FMUL", "FADD", "IMAD"}
HALF = {"HFMA2", "HMUL2", "HADD2"}
SLOW = {"MUFU", "I2F", "F2I", "F2F", "FRND"}  # 16 lanes a clock


def run(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True)


def compile_kernel(nvcc, arch, source, folder):
    """{kernel: (registers, spill bytes, [instruction], {label: index})}."""
    cubin = folder / f"{source.stem}_{arch}.cubin"
    said = run(nvcc, "-std=c++20", "-O3", "--expt-relaxed-constexpr",
               f"-arch=sm_{arch}{'a' if arch == 90 else ''}", "-cubin", "-Xptxas", "-v",
               f"-I{ROOT / 'src'}", str(source), "-o", str(cubin)).stderr
    facts, kernels = {}, {}
    for part in said.split("Compiling entry function '")[1:]:
        facts[part.split("'")[0]] = (int(re.search(r"Used (\d+) registers", part)[1]),
                                     int(re.search(r"(\d+) bytes spill stores", part)[1]))
    name, instructions, labels = None, [], {}
    for line in run("nvdisasm", "-c", str(cubin)).stdout.splitlines():
        if found := re.match(r"\.text\.(\S+):", line):
            name, instructions, labels = found[1], [], {}
            kernels[name] = (*facts[name], instructions, labels)
        elif found := re.match(r"\s*(\.L_x_\d+):", line):
            labels[found[1]] = len(instructions)
        elif name and (found := re.match(r"\s*/\*[0-9a-f]{4,}\*/\s+(.*?);", line)):
            instructions.append(found[1] + line[found.end():])  # a jump's targets stand behind it
    return kernels


def compile_kernels(nvcc, folder):
    """{architecture: {kernel: ..}}"""
    if shutil.which("nvdisasm") is None:
        sys.exit("nvdisasm is missing: pip install nvidia-cuda-nvdisasm, and put it on the PATH")
    sources = sorted((ROOT / "src/backend/cuda").glob("linear_*.cu"))
    # Main loops of the types that share a kernel are found in kernels of their own.
    for kind in ("low", "many", "wide"):
        alone = folder / f"{kind}_alone.cu"
        alone.write_text(f'#include "backend/cuda/linear_{"low" if kind == "low" else "many"}.cuh"\n'
                         "namespace sluice::backend::cuda {\n" +
                         "".join(f"SLUICE_{kind.upper()}_KERNELS({t.lower()}, k{t})\n" for t in MIXED) + "}\n")
        sources.append(alone)
    jobs = [(arch, source) for arch in (80, 90) for source in sources]
    kernels = {80: {}, 90: {}}
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for (arch, _), some in zip(jobs, pool.map(lambda job: compile_kernel(nvcc, *job, folder), jobs)):
            kernels[arch].update(some)
    return kernels


def opcode(instruction):
    return re.sub(r"^@!?U?P[T\d]+\s+", "", instruction).split()[0]


class Work:
    """What a stretch of instructions asks of a multiprocessor's units."""

    def __init__(self, instructions, times):
        self.slots = self.alu = self.fma = self.half = self.slow = self.shared = 0
        self.mma = self.wide = 0  # m16n8k16 of mma.sync, of a warpgroup's warp
        for instruction, n in zip(instructions, times):
            full = opcode(instruction)
            name = full.split(".")[0]
            self.slots += n
            self.alu += n * (name in ALU)
            self.fma += n * (name in FMA)
            self.half += n * (name in HALF)
            self.slow += n * (name in SLOW)
            self.mma += n * (name == "HMMA")
            if name == "HGMMA":
                columns = int(re.search(r"64x(\d+)x16", full)[1])
                self.wide += n * columns / 8
                self.shared += n * columns * 32 / 128 / 4  # B, read once for four warps
            if name in ("LDS", "STS", "LDGSTS") and "RZ, [RZ]" not in instruction:
                self.shared += n * (4 if ".128" in full else 2 if ".64" in full else 1)
            if name == "LDSM":
                self.shared += n * (4 if ".4" in full else 2)

    def clocks(self, machine):
        """{unit: clocks of a multiprocessor a warp's pass}."""
        mma = 2 * 16 * 8 * 16 * machine.sms * machine.clock / machine.flops
        units = {"issue": self.slots / 4, "alu": self.alu / 2,
                 "fma": self.fma / machine.fp32 + self.half / 4, "slow": self.slow * 2,
                 "shared": self.shared,
                 "mma": self.mma * mma / machine.mma_share + self.wide * mma / WIDE_SHARE}
        return {unit: clocks / REACHED if unit != "mma" else clocks for unit, clocks in units.items()}


class Graph:
    """Basic blocks of a kernel, as ranges of instructions, and where each may go."""

    def __init__(self, instructions, labels):
        self.instructions = instructions
        self.starts = sorted({0, *(i for i in labels.values() if i < len(instructions)),
                              *(i + 1 for i, text in enumerate(instructions[:-1])
                                if opcode(text).split(".")[0] in ("BRA", "BRX", "EXIT", "RET"))})
        self.ends = self.starts[1:] + [len(instructions)]
        index = {start: block for block, start in enumerate(self.starts)}
        self.next = []
        for block, end in enumerate(self.ends):
            text = instructions[end - 1]
            name = opcode(text).split(".")[0]
            targets = [index[labels[t]] for t in re.findall(r"\.L_x_\d+", text)
                       if labels.get(t, len(instructions)) < len(instructions)]
            goes = targets if name in ("BRA", "BRX") else []
            falls = name not in ("BRX", "EXIT", "RET") and (name != "BRA" or text.startswith("@") or
                                                            "U" in opcode(text).split(".")[1:])
            if falls and block + 1 < len(self.starts):
                goes = goes + [block + 1]
            self.next.append(goes)

    def text(self, block):
        return self.instructions[self.starts[block]:self.ends[block]]

    def has(self, block, *names):
        return any(opcode(text).startswith(names) for text in self.text(block))

    def loops(self):
        """(first, last) blocks of what a backward branch closes."""
        return sorted({(target, block) for block, goes in enumerate(self.next) for target in goes
                       if target <= block}, key=lambda l: l[1] - l[0])

    def walk(self, loop, names, free=range(0)):
        """Blocks of the shortest way through a loop that meets all of its blocks with any of `names`;
        those in `free` cost nothing."""
        cost = lambda block: 0 if block in free else self.ends[block] - self.starts[block]
        wanted = [b for b in range(loop[0], loop[1] + 1) if b not in free and self.has(b, *names)]
        way, at = [loop[0]], loop[0]
        for target in wanted + [loop[1]]:
            if target == at:
                continue
            best, came = {at: 0}, {}
            queue = [at]
            while queue:
                block = min(queue, key=best.get)
                queue.remove(block)
                for then in self.next[block]:
                    if not at < then <= loop[1] and not (then in free):
                        continue
                    if then < loop[0] or then > loop[1]:
                        continue
                    if then not in best or best[block] + cost(then) < best[then]:
                        best[then] = best[block] + cost(then)
                        came[then] = block
                        queue.append(then)
            if target not in came:
                continue  # on no way from here: another branch than the one before
            part = [target]
            while came[part[-1]] != at:
                part.append(came[part[-1]])
            way += reversed(part)
            at = target
        return [block for block in way if block not in free]


PRODUCTS = ("HMMA", "HGMMA")


def main_loops(kernel, scales_share=0.25):
    """Work of the innermost loop with products and copies, once through; and of what the loop around
    it does besides. Scales are made in such a share of times."""
    _, _, instructions, labels = kernel
    graph = Graph(instructions, labels)
    inside = lambda l, names: any(graph.has(b, *names) for b in range(l[0], l[1] + 1))
    loops = [l for l in graph.loops() if inside(l, PRODUCTS) and inside(l, ("LDGSTS",))]
    if not loops:  # not for this machine
        return None
    main = loops[0]
    is_many = inside(main, ("BAR",))
    hot = graph.walk(main, PRODUCTS + ("LDGSTS", "BAR"))
    work = [text for block in hot for text in graph.text(block)]
    times = [1.0] * len(work)
    if is_many:
        for block in range(main[0], main[1] + 1):
            if block not in hot and graph.has(block, "STS"):
                work += graph.text(block)
                times += [scales_share] * len(graph.text(block))
    around = [l for l in loops if l != main and l[0] <= main[0] and main[1] <= l[1]]
    rest = []
    if around and not is_many:
        blocks = graph.walk(around[0], PRODUCTS + ("LDG.",), range(main[0], main[1] + 1))
        rest = [text for block in blocks for text in graph.text(block)]
    return Work(work, times), Work(rest, [1.0] * len(rest))


def blocks_per_sm(machine, registers, launch):
    by_registers = 65536 // (-(-registers // 8) * 8 * launch["threads"])
    by_shared = machine.shared_sm // (launch["shared"] + 2048)
    return max(1, min(by_registers, by_shared, 2048 // launch["threads"]))


def stream_time(loads, cap, bandwidth):
    """Seconds until all have what they want, each at most at `cap`, together at `bandwidth`."""
    time = 0.0
    loads = sorted(load for load in loads if load > 0)
    done, at = 0.0, 0
    while at < len(loads):
        rate = min(cap, bandwidth / (len(loads) - at))
        time += (loads[at] - done) / rate
        done = loads[at]
        while at < len(loads) and loads[at] <= done:
            at += 1
    return time


def shares(units, grid):
    return [units * (i + 1) // grid - units * i // grid for i in range(grid)]


def storing(machine, launch, rows):
    """Seconds in which a product's results go to memory, as floats, or activated, two functions each, as halves."""
    numbers = rows * launch["matrix_rows"]
    if not launch["is_gated"]:
        return 4 * numbers / machine.l2
    return numbers / machine.l2 + numbers / (16 * REACHED * machine.sms * machine.clock)


def activation(machine, launch, rows):
    """Seconds of the kernel that activates where the product does not: two floats in, a half out."""
    moved = 10 * rows * launch["width"]
    return moved / (machine.l2 if moved < L2_KEEPS else machine.read) + FILL + TAIL


Result = collections.namedtuple("Result", "launch bytes seconds share of_roof limits in_flight blocks flops")


Part = collections.namedtuple("Part", "launch loads cap copied limits in_flight")  # a type's of a launch


def low_part(machine, launch, kernels, rows):
    inner, outer = main_loops(kernels[launch["loop"]])
    is_float = any(launch["loop"].endswith(f) for f in ("f16", "f32"))
    stages = -(-launch["columns"] // (64 if is_float else 256))
    stage_bytes = launch["tile_bytes"] / stages
    per_stage = inner.clocks(machine)
    around = outer.clocks(machine)
    tiles_together = min(launch["warp_tiles"], max(1, launch["tiles"] * launch["splits"] / launch["grid"]))
    clocks = {unit: per_stage[unit] + around[unit] / tiles_together for unit in per_stage}
    warps = launch["threads"] // 32
    in_flight = min(warps, launch["column_warps"] * max(1, warps // launch["column_warps"])) * (
        launch["slots"] - 1) * stage_bytes
    fair = machine.read / machine.sms
    bytes_a_clock = fair / machine.clock
    limits = {unit: c / stage_bytes * bytes_a_clock for unit, c in clocks.items()}
    cap = min(fair / max(limits.values()), fair * in_flight / machine.in_flight)
    unit_bytes = launch["tile_bytes"] / launch["splits"]
    loads = [n * unit_bytes for n in shares(launch["tiles"] * launch["splits"], launch["grid"])]
    total = sum(loads)
    # Activations come through the second-level cache, too; a block's are in the first-level one after
    # the first pass, where they fit.
    token_tiles = -(-rows // 8)
    taken = min(c for c in CARVE_OUTS if c * 1024 >= launch["shared"] + 1024) * 1024
    own_rows = launch["columns"] / launch["splits"] * 2 * rows
    tiles = launch["tiles"] * launch["splits"] / launch["grid"]
    passes = 1 if own_rows < 0.8 * (machine.l1 - taken) else max(
        1, tiles / launch["warp_tiles"] / max(1, warps // launch["column_warps"]))
    # Blocks with tiles of one split have its columns; few have more.
    activations = launch["grid"] * own_rows * passes
    partials = 0 if launch["splits"] == 1 else 2 * launch["tiles"] * launch["splits"] * token_tiles * 512
    return Part(launch, loads, cap, total + activations + partials, limits, in_flight)


def low(machine, launches, kernels, rows):
    parts = [low_part(machine, launch, kernels, rows) for launch in launches]
    loads = [load for part in parts for load in part.loads]
    total, splits = sum(loads), max(launch["splits"] for launch in launches)
    cached = sum(part.copied for part in parts) / machine.l2
    limits = {unit: max(part.limits[unit] for part in parts) for unit in parts[0].limits}
    limits["l2"] = cached / (total / machine.read)
    seconds = max(stream_time(loads, min(part.cap for part in parts), machine.read), cached) + TAIL + (
        FILL if machine.arch < 90 else 0)
    if splits > 1:  # eight parts are read at once
        seconds += TO_L2 * (2 + -(-splits // 8))
    seconds += sum(storing(machine, launch, rows) for launch in launches)
    flops = sum(2 * rows * launch["tiles"] * 16 * launch["columns"] for launch in launches)
    launch = launches[0]
    return Result(launch, total, seconds, total / machine.read / seconds, 0, limits, parts[0].in_flight,
                  blocks_per_sm(machine, kernels[launch["kernel"]][0], launch), flops)


def most_parts(blocks, chunks, grid):
    """How many blocks of the grid have a part of a block of tiles, at most (linear_many.cuh: owner_of)."""
    units = blocks * chunks
    owner = lambda unit: ((unit + 1) * grid - 1) // units
    return max(owner((i + 1) * chunks - 1) - owner(i * chunks) + 1 for i in range(blocks))


ManyPart = collections.namedtuple("ManyPart", "total busy clocks copied adding flops stored in_flight most")


def many_part(machine, launch, kernels, rows):
    stage = launch["stage_quarters"]
    inner, _ = main_loops(kernels[launch["loop"]], stage / 4)
    warps = launch["threads"] // 32
    clocks = {unit: c * warps / stage for unit, c in inner.clocks(machine).items()}  # of 64 columns
    quarters = -(-launch["columns"] // 64)
    chunks = -(-launch["columns"] // 256)
    if launch["is_split"]:
        most = max(shares(launch["blocks"] * chunks, launch["grid"])) * 4
    else:
        most = -(-launch["units"] // launch["grid"]) * quarters
    of_all = 1  # of a product that takes two launches
    if not launch["is_split"]:
        of_all = launch["units"] / (launch["blocks"] * launch["token_blocks"])
    total = launch["matrix_rows"] / 16 * launch["tile_bytes"] * of_all
    tiles = launch["matrix_rows"] / 16 / launch["blocks"]
    is_wide = "wide" in launch["loop"]
    in_flight = (launch["slots"] - (2 if is_wide else 1)) * tiles * launch["tile_bytes"] / quarters * stage
    busy = most * max(clocks.values()) / machine.clock
    tokens = int(re.search(r"_(?:wide)?(\d+)_", launch["loop"])[1])
    units = launch["blocks"] * launch["token_blocks"] * quarters * of_all
    copied = units * tokens * 128 + total * launch["token_blocks"]
    adding = 0
    if launch["is_split"]:
        part = launch["matrix_rows"] / launch["blocks"] * tokens * 4
        parts = most_parts(launch["blocks"], chunks, launch["grid"])
        copied += 2 * launch["grid"] * part  # one is left and read where two blocks meet
        if parts > 1:
            adding = 3 * TO_L2 + (parts - 1) * (part / (PORT * REACHED * machine.clock) + TO_L2)
    return ManyPart(total, busy, clocks, copied, adding, 2 * rows * launch["matrix_rows"] * launch["columns"] * of_all,
                    storing(machine, launch, rows) * of_all, in_flight, most)


def many(machine, launches, kernels, rows):
    parts = [many_part(machine, launch, kernels, rows) for launch in launches]
    launch, total = launches[0], sum(part.total for part in parts)
    memory = stream = total / machine.read
    if launch["token_blocks"] == 1:
        for part, own in zip(parts, launches):
            blocks = own["grid"] if len(parts) > 1 else machine.sms
            most = blocks / machine.sms * machine.read * part.in_flight / machine.in_flight
            stream = max(stream, part.total / most)
    cached = sum(part.copied for part in parts) / machine.l2
    seconds = max(max(part.busy for part in parts), stream, cached) + max(part.adding for part in parts)
    seconds += TAIL + (FILL if machine.arch < 90 else 0) + sum(part.stored for part in parts)
    limits = {unit: max(part.most * part.clocks[unit] for part in parts) / machine.clock / memory
              for unit in parts[0].clocks}
    limits["l2"] = cached / memory
    flops = sum(part.flops for part in parts)
    roof = max(memory, flops / (machine.flops * (WIDE_SHARE if machine.arch >= 90 else machine.mma_share)))
    return Result(launch, total, seconds, memory / seconds, roof / seconds, limits, parts[0].in_flight,
                  blocks_per_sm(machine, kernels[launch["kernel"]][0], launch), flops)


Program = collections.namedtuple("Program", "path words")  # gpu_launches, compiled


def launches_of(program, machine, rows, is_prefill):
    """Each a list: what its types' blocks do."""
    out = run(program.path, str(machine.arch), str(machine.sms), str(machine.shared_block), str(rows),
              "1" if is_prefill else "0", *program.words).stdout
    lines = [json.loads(line) for line in out.splitlines()]
    return [list(some) for _, some in itertools.groupby(
        lines, lambda line: (line["model"], line["product"], line["launch"]))]


def prefill_step(program, machine, kernels, model, count):
    """Seconds of all products of a prompt's step, but for the head, with the gaps between them, and their
    operations."""
    seconds = flops = 0.0
    for launches in launches_of(program, machine, count, True):
        launch = launches[0]
        if launch["model"] == model and launch["product"] == "activation":
            seconds += launch["times"] * (activation(machine, launch, count) + machine.gap)
        elif launch["model"] == model and launch["product"] != "head":
            result = many(machine, launches, kernels[machine.arch], count)
            seconds += launch["times"] * (result.seconds + machine.gap)
            flops += launch["times"] * result.flops
    return seconds, flops


def pipelines(program, kernels, counts, gpus, models, is_markdown):
    """Prompts of models whose layers lie on several GPUs: a step in pieces, which the GPUs compute at the
    same time (backend/pipeline), beside the step as a whole, one GPU after another."""
    cuts = (1, 2, 3, 4, 8)
    rows = [("machine", "model", "tokens", "GPUs", *(f"ms in {p} piece{'s' * (p > 1)}" for p in cuts))]
    widths = {l[0]["model"]: l[0]["columns"] for l in launches_of(program, MACHINES[0], 512, True)
              if l[0]["product"] == "o"}
    for machine, model, count, stages in itertools.product(MACHINES, widths, counts, gpus):
        if model.split()[0] not in models:
            continue
        turn = lambda tokens: (prefill_step(program, machine, kernels, model, tokens)[0] / stages +
                               tokens * widths[model] * 4 * (2 / HOST_COPY + 2 / LINK))
        times = [(stages + p - 1) * turn(-(-count // p)) for p in cuts]
        rows.append((machine.name, model, str(count), str(stages),
                     *(f"{1e3 * t:.1f} ({times[0] / t:.2f}x)" for t in times)))
    table(rows, is_markdown)


def table(rows, is_markdown):
    if is_markdown:
        for i, row in enumerate(rows):
            print("| " + " | ".join(row) + " |")
            if i == 0:
                print("|" + "---|" * len(row))
    else:
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        for row in rows:
            print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)))
    print()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", default="1,8,16,64", help="sequences of decode steps")
    parser.add_argument("--prefill", default="512,2048", help="tokens of prompts")
    parser.add_argument("--models", default="70B,8B,1B")
    parser.add_argument("--apart", action="store_true", help="gate and up are activated by a kernel of its own")
    parser.add_argument("--gpus", help="prompts over so many GPUs, in pieces")
    parser.add_argument("--kernels", action="store_true", help="what the compiler says of each kernel")
    parser.add_argument("--markdown", action="store_true")
    options = parser.parse_args()
    nvcc = shutil.which("nvcc") or "/usr/local/cuda/bin/nvcc"
    folder = pathlib.Path(tempfile.mkdtemp(prefix="gpu_model"))
    program = Program(str(folder / "launches"), ["apart"] if options.apart else [])
    run("g++", "-std=c++20", "-O1", f"-I{ROOT / 'src'}", str(ROOT / "bench/gpu_launches.cpp"),
        *map(str, (ROOT / "src/backend/cuda").glob("linear*.cpp")),
        *(str(ROOT / "src" / f) for f in ("backend/cuda/packing.cpp", "base/error.cpp")),
        *map(str, (ROOT / "src/quant").glob("*.cpp")), "-o", program.path)
    kernels = compile_kernels(nvcc, folder)

    if options.kernels:
        rows = [("kernel", "registers 80/90", "spills", "main loop, instructions 80/90")]
        for name in sorted(kernels[80]):
            both = [kernels[arch][name] for arch in (80, 90)]
            loops = [main_loops(kernel) for kernel in both]
            has_one = not name.endswith("mixed")
            rows.append((name.removeprefix("linear_"),
                         "/".join(str(k[0]) if l else "-" for k, l in zip(both, loops)),
                         str(max(k[1] for k in both)),
                         "/".join(f"{l[0].slots:.0f}" if l and has_one else "-" for l in loops)))
        table(rows, options.markdown)

    for rows_text in options.rows.split(","):
        count = int(rows_text)
        print(f"Decode, {count} rows: share of the reachable bandwidth while the kernel runs\n")
        head = ("machine", "model", "product", "kernel", "blocks", "in flight / wanted, kB",
                "busiest unit", "share", "of the roof")
        rows, sums = [head], []
        for machine in MACHINES:
            time, model_bytes = collections.Counter(), collections.Counter()
            for launches in launches_of(program, machine, count, False):
                launch = launches[0]
                if launch["model"].split()[0] not in options.models.split(","):
                    continue
                if launch["product"] == "activation":
                    time[launch["model"]] += launch["times"] * (activation(machine, launch, count) + machine.gap)
                    continue
                compute = low if "warp_tiles" in launch else many
                result = compute(machine, launches, kernels[machine.arch], count)
                unit = max(result.limits, key=result.limits.get)
                rows.append((machine.name, launch["model"], launch["product"],
                             launch["kernel"].removeprefix("linear_"),
                             f"{' + '.join(str(l['grid']) for l in launches)} x {result.blocks}",
                             f"{result.in_flight / 1e3:.0f} / {machine.in_flight / 1e3:.0f}",
                             f"{unit} {100 * result.limits[unit]:.0f}%", f"{100 * result.share:.0f}%",
                             f"{100 * max(result.share, result.of_roof):.0f}%"))
                time[launch["model"]] += launch["times"] * (result.seconds + machine.gap)
                model_bytes[launch["model"]] += launch["times"] * result.bytes
            for model in time:
                sums.append((machine.name, model, f"{1e3 * time[model]:.2f}",
                             f"{count / time[model]:.0f}",
                             f"{100 * model_bytes[model] / machine.read / time[model]:.0f}%"))
        table(rows, options.markdown)
        table([("machine", "model", "ms, products and gaps", "tokens/s at most", "share of bandwidth")] +
              sums, options.markdown)

    for rows_text in options.prefill.split(","):
        if not rows_text:
            continue
        count = int(rows_text)
        print(f"Prefill, {count} rows: share of the matrix rate\n")
        rows = [("machine", "model", "product", "kernel", "blocks", "busiest unit", "share", "of the product")]
        sums = [("machine", "model", "ms, products and gaps", "share of the matrix rate")]
        for machine in MACHINES:
            launches = [l for l in launches_of(program, machine, count, True)
                        if l[0]["model"].split()[0] in options.models.split(",") and
                        l[0]["product"] not in ("head", "activation")]
            for (model, product), some in itertools.groupby(launches, lambda l: (l[0]["model"], l[0]["product"])):
                results = [many(machine, l, kernels[machine.arch], count) for l in some]
                rate = lambda some: sum(r.flops for r in some) / machine.flops / sum(r.seconds for r in some)
                for result in results:
                    rows.append((machine.name, model, product, result.launch["kernel"].removeprefix("linear_"),
                                 f"{result.launch['grid']} x {result.blocks}",
                                 max(result.limits, key=result.limits.get),
                                 f"{100 * rate([result]):.0f}%", f"{100 * rate(results):.0f}%"))
            for model in dict.fromkeys(l[0]["model"] for l in launches):
                seconds, flops = prefill_step(program, machine, kernels, model, count)
                sums.append((machine.name, model, f"{1e3 * seconds:.1f}",
                             f"{100 * flops / machine.flops / seconds:.0f}%"))
        table(rows, options.markdown)
        table(sums, options.markdown)

    if options.gpus:
        print("Prompts over several GPUs, in pieces\n")
        pipelines(program, kernels, [int(n) for n in options.prefill.split(",") if n],
                  [int(n) for n in options.gpus.split(",")], options.models.split(","), options.markdown)


if __name__ == "__main__":
    main()
