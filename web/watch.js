// Samples of the server and its machine, a second apart, kept for ten minutes.
import { ApiError, getJson } from './api.js';

const INTERVAL = 1000;
const QUIET_INTERVAL = 5000;  // while nobody looks at the dashboard
const SHORTEST = 500;  // ms over which a rate is taken
const MOST = 600;
const LEAST_SHARE = 0.01;  // of a core: what takes less is in nobody's way
const LATENCY_WINDOW = 30e3;  // ms whose requests make up a percentile

export const samples = [];  // the oldest first
const listeners = new Set();
let timer = 0;
let wantsAll = false;

export function onSample(listener) {
  listeners.add(listener);
}

// `all`: also the machine and the requests, every second.
export function watch(all) {
  wantsAll = all;
  clearTimeout(timer);
  tick();
}

export function lookAgain() {
  tick();
}

async function tick() {
  clearTimeout(timer);
  if (document.visibilityState === 'visible') {
    let result;
    try {
      result = { sample: await take(), error: null };
    } catch (error) {
      result = { sample: null, error };
    }
    for (const listener of listeners) listener(result);
  }
  clearTimeout(timer);
  timer = setTimeout(tick, wantsAll ? INTERVAL : QUIET_INTERVAL);
}

document.addEventListener('visibilitychange', () => {
  if (document.visibilityState === 'visible') tick();
});

async function take() {
  // Who only chats is not asked for a key of another scope.
  const asks = wantsAll;
  const [status, machine, requests] = await Promise.all([
    getJson('api/sluice/status', { asks }),
    wantsAll ? getJson('api/sluice/machine', { asks }) : null,
    wantsAll ? getJson('api/sluice/requests?limit=100', { asks }) : null,
  ]);
  const sample = derive({ time: Date.now(), status, machine, requests: requests?.requests ?? [] });
  samples.push(sample);
  if (samples.length > MOST) samples.shift();
  return sample;
}

function difference(now, before) {
  return now >= before ? now - before : now;  // a restart counts from zero
}

function derive(sample) {
  // Not one of just now (somebody looked again): its rates would be of a few steps only.
  const before = samples.findLast((other) => sample.time - other.time >= SHORTEST);
  const seconds = before ? (sample.time - before.time) / 1000 : 0;
  const totals = sample.status.totals;
  const speed = (name) => (before && seconds > 0
    ? difference(totals[name], before.status.totals[name]) / seconds : 0);
  sample.outputSpeed = speed('num_output_tokens');
  sample.promptSpeed = speed('num_prompt_tokens');
  sample.cachedSpeed = speed('num_cached_tokens');
  sample.running = sample.status.num_running;
  sample.waiting = sample.status.num_waiting;
  const engines = sample.status.models.filter((model) => model.engine).map((model) => model.engine);
  const sum = (name) => engines.reduce((value, engine) => value + engine[name], 0);
  const blocks = sum('num_blocks_total');
  sample.cacheUsed = blocks ? sum('num_blocks_used') / blocks : 0;
  sample.cacheReusable = blocks ? sum('num_blocks_cached') / blocks : 0;
  sample.wait = Math.max(0, ...engines.map((engine) => engine.estimated_wait_ns));
  const base = [...samples].reverse().find((other) => sample.time - other.time >= LATENCY_WINDOW) ?? samples[0];
  for (const [name, metric] of [['ttft', 'time_to_first_token_seconds'], ['itl', 'inter_token_latency_seconds']]) {
    const now = totals.histograms?.[metric];
    const then = base?.status.totals.histograms?.[metric];
    sample[name] = now && then
      ? { p50: percentile(now, then, 0.5), p95: percentile(now, then, 0.95) } : { p50: NaN, p95: NaN };
  }
  if (sample.machine) deriveMachine(sample, samples.findLast((other) => other.machine && sample.time - other.time >= SHORTEST));
  return sample;
}

// In seconds, of what came between two histograms; within a bucket evenly spread.
function percentile(now, then, share) {
  const counts = now.counts.map((count, index) => difference(count, then.counts[index]));
  const total = counts.reduce((a, b) => a + b, 0);
  if (!total) return NaN;
  let below = 0;
  for (let i = 0; i < counts.length; i += 1) {
    const low = i === 0 ? 0 : now.bounds[i - 1];
    const high = now.bounds[i] ?? low;
    if (below + counts[i] >= share * total) {
      return low + (high - low) * ((share * total - below) / Math.max(counts[i], 1));
    }
    below += counts[i];
  }
  return NaN;
}

function deriveMachine(sample, before) {
  const { machine } = sample;
  const cpuShare = (now, then) => {
    const total = then ? now.total_s - then.total_s : 0;
    return total > 0 ? Math.min(1, Math.max(0, (now.busy_s - then.busy_s) / total)) : 0;
  };
  sample.cores = machine.cores.map((core, index) => cpuShare(core, before?.machine.cores[index]));
  sample.memoryUsed = machine.memory.total_bytes - machine.memory.available_bytes;
  const seconds = before ? (sample.time - before.time) / 1000 : 0;
  const then = new Map((before?.machine.process?.threads ?? []).map((thread) => [thread.id, thread.cpu_s]));
  sample.threads = (machine.process?.threads ?? []).map((thread) => ({
    name: thread.name,
    share: seconds > 0 && then.has(thread.id) ? Math.max(0, thread.cpu_s - then.get(thread.id)) / seconds : 0,
  })).sort((a, b) => b.share - a.share);
  sample.processCores = sample.threads.reduce((value, thread) => value + thread.share, 0);
  const others = new Map((before?.machine.other_processes ?? []).map((other) => [other.pid, other.cpu_s]));
  sample.others = (machine.other_processes ?? []).filter((other) => others.has(other.pid)).map((other) => ({
    name: `${other.name} (${other.pid})`,
    share: Math.max(0, other.cpu_s - others.get(other.pid)) / seconds,
  })).filter((other) => other.share >= LEAST_SHARE).sort((a, b) => b.share - a.share);
  const rate = (now, earlier) => (now >= earlier && seconds > 0 ? (now - earlier) / seconds : NaN);
  sample.diskRead = rate(machine.disk_read_bytes, before?.machine.disk_read_bytes);
  sample.diskWritten = rate(machine.disk_written_bytes, before?.machine.disk_written_bytes);
  sample.watts = rate(machine.energy_joules, before?.machine.energy_joules);
  sample.gpuWatts = machine.gpus.map((gpu) => {
    const earlier = before?.machine.gpus.find((other) => other.index === gpu.index);
    const mean = rate(gpu.energy_joules, earlier?.energy_joules);
    return Number.isFinite(mean) ? mean : gpu.power_watts ?? NaN;
  });
  // Of all that tells its power; nothing where nobody does.
  const watts = [sample.watts, ...sample.gpuWatts].filter(Number.isFinite);
  sample.joulesPerToken = watts.length && sample.outputSpeed > 0
    ? watts.reduce((a, b) => a + b, 0) / sample.outputSpeed : NaN;
}

export function isForbidden(error) {
  return error instanceof ApiError && (error.status === 401 || error.status === 403);
}
