// What runs on the server and what its machine does.
import { LiveChart } from './charts.js';
import { byId, element } from './dom.js';
import * as format from './format.js';
import { openLife } from './life.js';
import { isForbidden, onSample, samples } from './watch.js';

const WINDOWS = [[120, '2 min'], [300, '5 min'], [600, '10 min']];
const board = { isBuilt: false, window: 120, charts: [], tiles: [], rows: new Map() };

const seconds = (value) => (Number.isFinite(value) ? format.duration(value * 1e9) : '–');

const TILES = [
  ['Generation', (s) => format.rate(s.outputSpeed), (s) =>
    (Number.isFinite(s.joulesPerToken) ? `tokens/s at ${format.rate(s.joulesPerToken)} J each` : 'tokens/s')],
  ['Running', (s) => format.count(s.running), (s) => `request${s.running === 1 ? '' : 's'}`],
  ['Waiting', (s) => format.count(s.waiting), waitReason],
  ['KV cache', (s) => format.percent(s.cacheUsed), (s) => `and ${format.percent(s.cacheReusable)} reusable`],
  ['First token', (s) => seconds(s.ttft.p50), (s) => `p95 ${seconds(s.ttft.p95)}`],
  ['Between tokens', (s) => seconds(s.itl.p50), (s) => `p95 ${seconds(s.itl.p95)}`],
];

// What those wait for who wait, else how long one more would.
function waitReason(sample) {
  const { models } = sample.status;
  const sum = (list) => list.reduce((a, b) => a + b, 0);
  const forLoad = sum(models.map((model) => model.num_waiting_for_load));
  const forCache = sum(models.map((model) => model.engine?.num_waiting_for_cache ?? 0));
  const reasons = [
    [sample.waiting - forLoad - forCache, 'a place'], [forCache, 'room in the cache'], [forLoad, 'a model'],
  ].filter(([number]) => number > 0);
  const only = reasons.length === 1 ? `for ${reasons[0][1]}` : reasons.map(([number, what]) => `${number} for ${what}`).join(', ');
  const wait = sample.wait > 0 ? `one more: ${format.duration(sample.wait)}` : '';
  return [only, wait].filter(Boolean).join('; ') || 'in the queue';
}

const CHARTS = [
  { title: 'Tokens a second', format: format.rate, series: [
    { label: 'generated', colour: 'c1', value: (s) => s.outputSpeed, fills: true },
    { label: 'prompts', colour: 'c2', value: (s) => s.promptSpeed },
    { label: 'cached', colour: 'c3', value: (s) => s.cachedSpeed }] },
  { title: 'Requests', format: format.rate, isWhole: true, series: [
    { label: 'running', colour: 'c1', value: (s) => s.running, fills: true },
    { label: 'waiting', colour: 'c2', value: (s) => s.waiting }] },
  { title: 'KV cache', format: format.percent, most: 1, stacked: true, series: [
    { label: 'held', colour: 'c1', value: (s) => s.cacheUsed },
    { label: 'reusable', colour: 'c3', value: (s) => s.cacheReusable }] },
  { title: 'First token', hint: 'of the last 30 s', format: seconds, series: [
    { label: 'p50', colour: 'c1', value: (s) => s.ttft.p50 },
    { label: 'p95', colour: 'c2', value: (s) => s.ttft.p95 }] },
  { title: 'Between tokens', hint: 'of the last 30 s', format: seconds, series: [
    { label: 'p50', colour: 'c1', value: (s) => s.itl.p50 },
    { label: 'p95', colour: 'c2', value: (s) => s.itl.p95 }] },
  { title: 'Processor', hint: 'of all cores', format: format.percent, most: 1, series: [
    { label: 'machine', colour: 'c5', value: (s) => mean(s.cores), fills: true },
    { label: 'server', colour: 'c1', value: (s) => s.processCores / Math.max(s.cores?.length ?? 1, 1) }] },
  { title: 'Memory', format: format.bytes, series: [
    { label: 'machine', colour: 'c5', value: (s) => s.memoryUsed, fills: true },
    { label: 'server', colour: 'c1', value: (s) => s.machine?.process?.resident_bytes }] },
  { title: 'Disks', hint: 'by all, a second', format: format.bytes, series: [
    { label: 'read', colour: 'c1', value: (s) => s.diskRead, fills: true },
    { label: 'written', colour: 'c2', value: (s) => s.diskWritten }] },
];

const GPU_CHARTS = [
  { title: 'GPU', format: format.percent, most: 1, series: [
    { label: 'busy', colour: 'c1', value: (s) => mean(told(s, 'busy_ratio')), fills: true },
    { label: 'memory', colour: 'c2', value: (s) => mean(gpus(s).map((gpu) => gpu.memory_used_bytes / gpu.memory_bytes)) }] },
  { title: 'GPU power', format: withUnit('W'), series: [
    { label: 'drawn', colour: 'c2', value: (s) => s.gpuWatts?.filter(Number.isFinite).reduce((a, b) => a + b, 0), fills: true }] },
  { title: 'GPU temperature', format: withUnit('°C'), series: [
    { label: 'hottest', colour: 'c2', value: (s) => Math.max(...told(s, 'temperature_celsius')) }] },
  { title: 'GPU clock', hint: 'of the multiprocessors', format: withUnit('MHz'), series: [
    { label: 'mean', colour: 'c1', value: (s) => mean(told(s, 'clock_mhz')) }] },
];

function withUnit(unit) {
  return (value) => (Number.isFinite(value) ? `${Math.round(value)} ${unit}` : '–');
}

function gpus(sample) {
  return sample.machine?.gpus ?? [];
}

// By the cards that tell it.
function told(sample, name) {
  return gpus(sample).map((gpu) => gpu[name]).filter((value) => value !== undefined);
}

function mean(list) {
  return list?.length ? list.reduce((a, b) => a + b, 0) / list.length : NaN;
}

function build(sample) {
  board.isBuilt = true;
  board.tiles = TILES.map(([name]) => {
    const value = element('dd', { class: 'value' }, '–');
    const hint = element('dd', { class: 'quiet' }, '');
    return { value, hint, node: element('div', { class: 'tile' }, element('dt', {}, name), value, hint) };
  });
  const defined = gpus(sample).length ? [...CHARTS, ...GPU_CHARTS] : CHARTS;
  board.charts = defined.map((chart) => new LiveChart(chart));
  board.models = element('div', { class: 'models' });
  board.requests = element('tbody');
  board.cores = element('ol', { class: 'cores', 'aria-label': 'Share of each core that is busy' });
  board.threads = element('tbody');
  board.others = element('tbody');
  const windows = element('div', { class: 'choice', role: 'group', 'aria-label': 'Time shown' },
    ...WINDOWS.map(([window, text]) => element('button', {
      type: 'button', 'aria-pressed': String(window === board.window),
      onclick: (event) => {
        board.window = window;
        for (const other of event.target.parentNode.children) other.setAttribute('aria-pressed', String(other === event.target));
        draw(samples.at(-1));
      },
    }, text)));
  byId('board').replaceChildren(
    element('div', { class: 'board-head' }, element('h1', {}, 'Dashboard'), element('p', { class: 'quiet', id: 'server-line' }), windows,
      element('p', { class: 'quiet', id: 'totals-line' })),
    element('dl', { class: 'tiles' }, ...board.tiles.map((tile) => tile.node)),
    element('div', { class: 'charts' }, ...board.charts.map((chart) => chart.node),
      element('section', { class: 'chart', 'aria-labelledby': 'cores-title' },
        element('h2', { id: 'cores-title' }, 'Each core'), board.cores),
      shareTable('threads', 'The server’s threads', 'Thread', board.threads),
      shareTable('others', 'Beside the server', 'Process', board.others)),
    element('p', { class: 'quiet', id: 'machine-line' }),
    element('section', { 'aria-labelledby': 'models-title' },
      element('h2', { id: 'models-title' }, 'Models in memory'), board.models),
    element('section', { 'aria-labelledby': 'requests-title' },
      element('h2', { id: 'requests-title' }, 'Requests'),
      element('p', { class: 'quiet' }, 'Those under way, then the latest that ended. Choose one to see its life.'),
      element('div', { class: 'table-frame', tabindex: 0, role: 'region', 'aria-label': 'Table of requests' },
        element('table', { class: 'requests' },
          element('thead', {}, element('tr', {}, ...COLUMNS.map((text) => element('th', { scope: 'col' }, text)))),
          board.requests))));
}

function shareTable(id, title, what, body) {
  return element('section', { class: 'chart', 'aria-labelledby': `${id}-title` },
    element('h2', { id: `${id}-title` }, title),
    element('table', { class: 'threads', id },
      element('thead', { class: 'visually-hidden' }, element('tr', {},
        element('th', { scope: 'col' }, what), element('th', { scope: 'col' }, 'Share of a core'))),
      body));
}

// Only what changed is touched, so that a choice of text or a focus stays.
function draw(sample) {
  if (!sample?.machine) return;
  if (!board.isBuilt) build(sample);
  const { status } = sample;
  byId('server-line').textContent =
    `sluice ${status.version}, up ${format.duration(status.uptime_ns)}, ${format.plural(status.num_connections, 'connection')}${status.is_draining ? ', about to end' : ''}`;
  setText(byId('totals-line'), totalsText(status.totals));
  setText(byId('machine-line'), machineText(sample));
  board.tiles.forEach((tile, index) => {
    tile.value.textContent = TILES[index][1](sample);
    tile.hint.textContent = TILES[index][2](sample);
  });
  for (const chart of board.charts) chart.update(samples.filter((other) => other.machine), board.window);
  drawModels(status);
  drawRequests(sample.requests, status);
  drawCores(sample);
  drawShares(board.threads, sample.threads, 'None is seen.');
  drawShares(board.others, sample.others, 'No process takes a hundredth of a core.');
}

// Since the server's start.
function totalsText(totals) {
  const prompts = totals.num_prompt_tokens + totals.num_cached_tokens;
  const texts = [`${format.plural(totals.num_requests_finished, 'request')} done`];
  for (const [name, what] of [['num_requests_cancelled', 'cancelled'], ['num_requests_rejected', 'refused'], ['num_preemptions', 'preempted']]) {
    if (totals[name]) texts.push(`${format.count(totals[name])} ${what}`);
  }
  if (prompts) texts.push(`${format.percent(totals.num_cached_tokens / prompts)} of ${format.plural(prompts, 'prompt token')} from the prefix cache`);
  if (totals.num_draft_tokens) texts.push(`guesses right ${format.percent(totals.num_accepted_tokens / totals.num_draft_tokens)}`);
  return texts.join(' · ');
}

function machineText({ machine, cores, watts }) {
  const { load, clock_mhz: clock, temperature_celsius: temperature } = machine;
  return [
    format.plural(cores.length, 'core'),
    load.length ? `load ${load.map((value) => value.toFixed(2)).join(' ')}` : '',
    `${format.bytes(machine.memory.available_bytes)} of ${format.bytes(machine.memory.total_bytes)} memory free`,
    clock ? `${(clock / 1e3).toFixed(1)} GHz` : '',
    Number.isFinite(watts) ? `${Math.round(watts)} W` : '',
    temperature ? `${Math.round(temperature)} °C` : '',
    ...machine.gpus.map((gpu) => `GPU ${gpu.index}: ${gpu.name}`),
  ].filter(Boolean).join(' · ');
}

function drawModels(status) {
  if (!status.models.length) {
    board.models.replaceChildren(element('p', { class: 'quiet' }, 'None. A model is loaded when somebody asks for it.'));
    return;
  }
  board.models.replaceChildren(...status.models.map(modelView));
}

function modelView(model) {
  const head = element('div', { class: 'model-head' },
    element('h3', {}, model.name),
    element('p', { class: 'quiet' }, [model.parameter_size, model.quantization, model.backend].filter(Boolean).join(' · ')));
  if (model.is_loading) {
    return element('article', { class: 'card' }, head,
      element('progress', { value: model.load_progress, max: 1, 'aria-label': 'Loading' }),
      element('p', { class: 'quiet' }, `Loading: ${format.percent(model.load_progress)}${model.num_waiting_for_load ? `, ${format.plural(model.num_waiting_for_load, 'request')} waiting` : ''}`));
  }
  const { weights, cache, workspace } = model.memory;
  const engine = model.engine;
  const facts = [
    ['Weights', format.bytes(weights)], ['Cache', format.bytes(cache)], ['Workspace', format.bytes(workspace)],
    ...(model.memory.on_device ? [['Of these on GPUs', format.bytes(model.memory.on_device)]] : []),
    ['Context', format.plural(model.context_length, 'token')],
    ['Prefix cache', hitShare(engine)],
    ['Requests so far', format.count(engine.num_requests_finished)],
    ['Stays until', model.expires_at ? new Date(model.expires_at).toLocaleTimeString() : 'for ever'],
  ];
  return element('article', { class: 'card' }, head,
    element('dl', { class: 'facts' }, ...facts.map(([name, value]) =>
      element('div', {}, element('dt', {}, name), element('dd', {}, value)))),
    ...(model.parts ?? []).map((part) => element('p', { class: 'quiet' },
      `${part.device}: ${format.plural(part.layers, 'layer')}, ${format.bytes(part.weights)} + cache ${format.bytes(part.cache)} + workspace ${format.bytes(part.workspace)}`)));
}

function hitShare(engine) {
  const all = engine.num_prompt_tokens + engine.num_cached_tokens;
  return all ? `${format.percent(engine.num_cached_tokens / all)} hits` : 'unused';
}

const COLUMNS = ['Request', 'State', 'Model', 'Client', 'Prompt', 'Reply', 'Tokens/s', 'First token', 'In all', 'Arrived'];

// The row of a request, to be filled; its button stays the same one, so that it can be pressed.
function newRow(id) {
  const open = element('button', { type: 'button', class: 'link', data: { id }, onclick: () => openLife(id) }, shortId(id));
  const state = element('span');
  const cells = COLUMNS.slice(2).map((name) => element('td', { data: { label: name } }));
  return {
    state, cells,
    node: element('tr', {}, element('td', { data: { label: 'Request' } }, open),
      element('td', { data: { label: 'State' } }, state), ...cells),
  };
}

function stateText(request, status) {
  if (request.state === 'running') {
    const isPrompt = request.prefilled_tokens < request.prompt_tokens;
    return isPrompt ? `prompt ${format.percent(request.prefilled_tokens / request.prompt_tokens)}` : 'replying';
  }
  if (request.state === 'waiting') {
    const wait = request.estimated_wait_ns > 0 ? `, about ${format.duration(request.estimated_wait_ns)}` : '';
    return `number ${request.queue_position}${wait}`;
  }
  if (request.state === 'preparing') {
    const model = status.models.find((one) => one.is_loading && [one.name, one.name.replace(/:[^:]*$/, '')].includes(request.model));
    return model ? `loading ${format.percent(model.load_progress)}` : 'preparing';
  }
  return request.finish_reason ? format.reason(request.finish_reason) : `status ${request.status}`;
}

function fillRow(row, request, status) {
  const isFailed = request.state === 'ended' && (request.status >= 400 || request.finish_reason === 'error');
  row.state.className = `state ${isFailed ? 'failed' : request.state}`;
  setText(row.state, stateText(request, status));
  const cached = request.cached_tokens ? ` (${format.count(request.cached_tokens)} cached)` : '';
  [
    request.model,
    request.key || request.address,
    request.prompt_tokens === undefined ? '' : `${format.count(request.prompt_tokens)}${cached}`,
    request.output_tokens === undefined ? '' : format.count(request.output_tokens),
    request.tokens_per_second ? format.rate(request.tokens_per_second) : '',
    request.time_to_first_token_ns ? format.duration(request.time_to_first_token_ns) : '',
    format.duration(request.total_ns),
    format.ago(Date.parse(request.arrived_at)),
  ].forEach((text, index) => setText(row.cells[index], text ?? ''));
}

function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function shortId(id) {
  return id.length > 16 ? `${id.slice(0, 13)}…` : id;
}

function drawRequests(requests, status) {
  if (!requests.length) {
    board.rows = new Map();
    board.requests.replaceChildren(element('tr', {}, element('td', { colspan: COLUMNS.length, class: 'quiet' }, 'None yet.')));
    return;
  }
  const before = board.rows;
  board.rows = new Map(requests.map((request) => [request.id, before.get(request.id) ?? newRow(request.id)]));
  for (const request of requests) fillRow(board.rows.get(request.id), request, status);
  // Rows that stay are not taken out and put in again: that would lose a focus, or half a click.
  const focused = document.activeElement;
  const wanted = [...board.rows.values()].map((row) => row.node);
  for (const node of [...board.requests.children]) {
    if (!wanted.includes(node)) node.remove();
  }
  wanted.forEach((node, index) => {
    if (board.requests.children[index] !== node) board.requests.insertBefore(node, board.requests.children[index] ?? null);
  });
  if (board.requests.contains(focused)) focused.focus({ preventScroll: true });
}

function drawCores(sample) {
  while (board.cores.children.length < sample.cores.length) {
    board.cores.append(element('li', {}, element('span', { class: 'bar' }), element('span', { class: 'number' })));
  }
  [...board.cores.children].forEach((item, index) => {
    const share = sample.cores[index] ?? 0;
    item.firstElementChild.style.height = `${Math.round(share * 100)}%`;
    item.lastElementChild.textContent = format.percent(share);
    item.title = `core ${index}: ${format.percent(share)}`;
  });
}

function drawShares(body, list, none) {
  if (!list.length) {
    body.replaceChildren(element('tr', {}, element('td', { colspan: 2, class: 'quiet' }, none)));
    return;
  }
  body.replaceChildren(...list.slice(0, 6).map(({ name, share }) => {
    const bar = element('progress', { max: 1, value: Math.min(1, share), 'aria-hidden': 'true' });
    return element('tr', {}, element('td', {}, name), element('td', {}, bar, element('span', {}, format.percent(share))));
  }));
}

function showFault(error) {
  const text = isForbidden(error)
    ? `The dashboard needs an API key of scope “metrics”: ${error.message}`
    : error.message;
  const fault = element('p', { class: 'error', role: 'alert', id: 'board-fault' }, text);
  const old = byId('board-fault');
  if (old) {
    if (old.textContent !== text) old.replaceWith(fault);
  } else {
    byId('board').prepend(fault);
  }
}

export function startDashboard() {
  onSample(({ sample, error }) => {
    if (byId('dashboard').hidden) return;
    if (error) {
      showFault(error);
      return;
    }
    byId('board-fault')?.remove();
    draw(sample);
  });
}
