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
  ['Generation', (s) => format.rate(s.outputSpeed), () => 'tokens/s'],
  ['Running', (s) => format.count(s.running), (s) => `request${s.running === 1 ? '' : 's'}`],
  ['Waiting', (s) => format.count(s.waiting), (s) => (s.wait > 0 ? `one more: ${format.duration(s.wait)}` : 'in the queue')],
  ['KV cache', (s) => format.percent(s.cacheUsed), (s) => `and ${format.percent(s.cacheReusable)} reusable`],
  ['First token', (s) => seconds(s.ttft.p50), (s) => `p95 ${seconds(s.ttft.p95)}`],
  ['Between tokens', (s) => seconds(s.itl.p50), (s) => `p95 ${seconds(s.itl.p95)}`],
];

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
];

const GPU_CHARTS = [
  { title: 'GPU', format: format.percent, most: 1, series: [
    { label: 'busy', colour: 'c1', value: (s) => mean(gpus(s).map((gpu) => gpu.busy_ratio)), fills: true },
    { label: 'memory', colour: 'c2', value: (s) => mean(gpus(s).map((gpu) => gpu.memory_used_bytes / gpu.memory_bytes)) }] },
  { title: 'GPU power', format: (value) => (Number.isFinite(value) ? `${Math.round(value)} W` : '–'), series: [
    { label: 'drawn', colour: 'c2', value: (s) => gpus(s).reduce((sum, gpu) => sum + (gpu.power_watts ?? 0), 0), fills: true }] },
];

function gpus(sample) {
  return sample.machine?.gpus ?? [];
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
    element('div', { class: 'board-head' }, element('h1', {}, 'Dashboard'), element('p', { class: 'quiet', id: 'server-line' }), windows),
    element('dl', { class: 'tiles' }, ...board.tiles.map((tile) => tile.node)),
    element('div', { class: 'charts' }, ...board.charts.map((chart) => chart.node),
      element('section', { class: 'chart', 'aria-labelledby': 'cores-title' },
        element('h2', { id: 'cores-title' }, 'Each core'), board.cores),
      element('section', { class: 'chart', 'aria-labelledby': 'threads-title' },
        element('h2', { id: 'threads-title' }, 'The server’s threads'),
        element('table', { class: 'threads' },
          element('thead', { class: 'visually-hidden' }, element('tr', {}, element('th', { scope: 'col' }, 'Thread'), element('th', { scope: 'col' }, 'Share of a core'))),
          board.threads))),
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

// Only what changed is touched, so that a choice of text or a focus stays.
function draw(sample) {
  if (!sample?.machine) return;
  if (!board.isBuilt) build(sample);
  const { status } = sample;
  byId('server-line').textContent =
    `sluice ${status.version}, up ${format.duration(status.uptime_ns)}, ${format.plural(status.num_connections, 'connection')}${status.is_draining ? ', about to end' : ''}`;
  board.tiles.forEach((tile, index) => {
    tile.value.textContent = TILES[index][1](sample);
    tile.hint.textContent = TILES[index][2](sample);
  });
  for (const chart of board.charts) chart.update(samples.filter((other) => other.machine), board.window);
  drawModels(status);
  drawRequests(sample.requests);
  drawCores(sample);
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
    ['Context', format.plural(model.context_length, 'token')],
    ['Prefix cache', hitShare(engine)],
    ['Requests so far', format.count(engine.num_requests_finished)],
    ['Stays until', model.expires_at ? new Date(model.expires_at).toLocaleTimeString() : 'for ever'],
  ];
  return element('article', { class: 'card' }, head,
    element('dl', { class: 'facts' }, ...facts.map(([name, value]) =>
      element('div', {}, element('dt', {}, name), element('dd', {}, value)))));
}

function hitShare(engine) {
  const all = engine.num_prompt_tokens + engine.num_cached_tokens;
  return all ? `${format.percent(engine.num_cached_tokens / all)} hits` : 'unused';
}

const COLUMNS = ['Request', 'State', 'Model', 'Prompt', 'Reply', 'Tokens/s', 'First token', 'In all', 'Arrived'];

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

function fillRow(row, request) {
  const state = {
    running: 'running', waiting: `number ${request.queue_position}`, preparing: 'preparing',
  }[request.state] ?? (request.finish_reason ? format.reason(request.finish_reason) : `status ${request.status}`);
  const isFailed = request.state === 'ended' && (request.status >= 400 || request.finish_reason === 'error');
  row.state.className = `state ${isFailed ? 'failed' : request.state}`;
  setText(row.state, state);
  const speed = request.state === 'running' && request.output_tokens > 1
    ? request.output_tokens / (request.total_ns / 1e9) : request.tokens_per_second;
  const cached = request.cached_tokens ? ` (${format.count(request.cached_tokens)} cached)` : '';
  [
    request.model,
    request.prompt_tokens === undefined ? '' : `${format.count(request.prompt_tokens)}${cached}`,
    request.output_tokens === undefined ? '' : format.count(request.output_tokens),
    speed ? format.rate(speed) : '',
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

function drawRequests(requests) {
  if (!requests.length) {
    board.rows = new Map();
    board.requests.replaceChildren(element('tr', {}, element('td', { colspan: COLUMNS.length, class: 'quiet' }, 'None yet.')));
    return;
  }
  const before = board.rows;
  board.rows = new Map(requests.map((request) => [request.id, before.get(request.id) ?? newRow(request.id)]));
  for (const request of requests) fillRow(board.rows.get(request.id), request);
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
  board.threads.replaceChildren(...sample.threads.slice(0, 6).map((thread) => {
    const bar = element('progress', { max: 1, value: Math.min(1, thread.share), 'aria-hidden': 'true' });
    return element('tr', {}, element('td', {}, thread.name),
      element('td', {}, bar, element('span', {}, format.percent(thread.share))));
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
