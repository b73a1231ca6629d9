// The life of one request: where its time went, in words and as a picture.
import { call, getJson } from './api.js';
import { byId, element, openDialog, svg } from './dom.js';
import * as format from './format.js';

const LANE = 44;

// Looked at again each second until the request has ended or the dialog is closed.
export async function openLife(id) {
  const dialog = byId('life-dialog');
  const cancel = cancelButton(id);
  openDialog(dialog, 'A request’s life', element('p', { class: 'quiet' }, 'Looking…'));
  const body = dialog.querySelector('.dialog-body');
  for (;;) {
    let life;
    try {
      life = await getJson(`api/sluice/requests/${encodeURIComponent(id)}`);
    } catch (error) {
      body.replaceChildren(element('p', { class: 'error' }, error.message));
      return;
    }
    if (!body.isConnected) return;
    const isEnded = life.state === 'ended';
    // The button stays the same one, so that it can be pressed and keeps the focus.
    for (const node of [...body.children]) if (isEnded || node !== cancel) node.remove();
    body.prepend(...content(life));
    if (isEnded) return;
    if (!cancel.isConnected) body.append(cancel);
    await new Promise((resolve) => setTimeout(resolve, 1000));
    if (!body.isConnected) return;
  }
}

function cancelButton(id) {
  const fault = element('p', { class: 'error', role: 'alert', hidden: true });
  const button = element('button', {
    type: 'button',
    onclick: async () => {
      button.disabled = true;
      try {
        await call(`api/sluice/requests/${encodeURIComponent(id)}`, { method: 'DELETE' });
        fault.hidden = true;
      } catch (error) {
        button.disabled = error.status === 404;  // it has ended by itself
        fault.textContent = `It is not cancelled: ${error.message}`;
        fault.hidden = error.status === 404;
      }
    },
  }, 'Cancel this request');
  return element('div', { class: 'cancel' }, fault, element('div', { class: 'buttons' }, button));
}

function content(life) {
  const head = element('p', { class: 'life-head' },
    element('code', {}, life.id), ' ', life.route, life.model ? ` · ${life.model}` : '',
    ` · ${new Date(life.arrived_at).toLocaleTimeString()}`);
  if (life.state !== 'ended') return [head, liveView(life)];
  const part = life.parts?.[0];
  const views = [head];
  // As wide as there is room: scaled text could not be read on a phone.
  const width = Math.min(790, Math.max(260, byId('life-dialog').clientWidth - 42));
  if (part) views.push(facts(life, part), picture(life, part, width));
  views.push(element('div', { class: 'words' },
    ...(life.explanation ?? []).map((sentence) => element('p', {}, sentence))));
  if (part?.spans?.length) views.push(stepTable(part.spans));
  return views;
}

function liveView(life) {
  const text = {
    preparing: 'It is being read and tokenized, or waits for its model to load.',
    waiting: `It is number ${life.queue_position} in the queue.`,
    running: `${format.count(life.prefilled_tokens ?? 0)} of ${format.plural(life.prompt_tokens ?? 0, 'prompt token')} computed, ${format.plural(life.output_tokens ?? 0, 'token')} of its reply so far.`,
  }[life.state];
  return element('div', { class: 'words' },
    element('p', {}, text ?? ''),
    element('p', {}, `Under way for ${format.duration(life.total_ns)}.`));
}

function facts(life, part) {
  const list = [
    ['In all', format.duration(life.total_ns)],
    ['First token', life.time_to_first_token_ns ? format.duration(life.time_to_first_token_ns) : '–'],
    ['Speed', life.tokens_per_second ? `${format.rate(life.tokens_per_second)} tokens/s` : '–'],
    ['Prompt', `${format.plural(part.prompt_tokens, 'token')}${part.cached_tokens ? `, ${format.count(part.cached_tokens)} cached` : ''}`],
    ['Reply', format.plural(part.output_tokens, 'token')],
    ['Ended', format.reason(part.finish_reason)],
  ];
  return element('dl', { class: 'facts' },
    ...list.map(([name, value]) => element('div', {}, element('dt', {}, name), element('dd', {}, value))));
}

// Stages as a bar, and under it what the steps did, on one axis of time.
function picture(life, part, size) {
  const before = life.load_ns + life.prepare_ns;
  const total = Math.max(life.total_ns, 1);
  const x = (ns) => (Math.min(ns, total) / total) * size;
  const stages = [
    ['load', 'Loading', 0, life.load_ns],
    ['prepare', 'Preparing', life.load_ns, life.prepare_ns],
    ['queue', 'Queue', before, part.queued_ns],
    ['prefill', 'Prompt', before + part.queued_ns, part.prefill_ns],
    ['decode', 'Reply', before + part.queued_ns + part.prefill_ns, part.decode_ns],
  ].filter(([, , , length]) => length > 0);
  const root = svg('svg', {
    viewBox: `0 0 ${size} ${LANE * 3 + 34}`, class: 'life-picture', role: 'img',
    'aria-label': stages.map(([, name, , length]) => `${name} ${format.duration(length)}`).join(', '),
  });
  for (const [kind, name, begin, length] of stages) {
    const width = Math.max(x(begin + length) - x(begin), 1);
    const group = svg('g', { class: `stage ${kind}` },
      svg('title', {}, `${name}: ${format.duration(length)}`),
      svg('rect', { x: x(begin), y: 4, width, height: 26, rx: 3 }));
    if (width > 64) group.append(svg('text', { x: x(begin) + 7, y: 21 }, name));
    root.append(group);
  }
  root.append(
    lane('Requests in a step', LANE, size, part.spans, before, x, (span) => span.mean_sequences,
      (span, value) => `${value.toFixed(1)} requests in a step, ${format.plural(span.steps, 'step')}`),
    lane('Tokens a second', LANE * 2 + 8, size, part.spans, before, x,
      (span) => (span.output_tokens + span.prompt_tokens) / Math.max((span.end_ns - span.begin_ns) / 1e9, 1e-9),
      (span, value) => `${format.rate(value)} tokens/s, ${span.kind}${span.was_preempted ? ' once more' : ''}`));
  root.append(
    svg('text', { x: 0, y: LANE * 3 + 30, class: 'axis' }, '0'),
    svg('text', { x: size, y: LANE * 3 + 30, class: 'axis end' }, format.duration(total)));
  const legend = element('ul', { class: 'legend' }, ...stages.map(([kind, name, , length]) =>
    element('li', { class: kind }, `${name} ${format.duration(length)}`)));
  return element('div', { class: 'picture' }, root, legend);
}

function lane(title, y, size, spans, before, x, valueOf, titleOf) {
  const values = spans.map(valueOf);
  // A prompt is computed so much faster than a reply comes that it would flatten it.
  const decodes = values.filter((_, index) => spans[index].kind === 'decode');
  const most = Math.max(1e-9, ...(decodes.length ? decodes : values));
  const height = LANE - 14;
  const group = svg('g', {}, svg('text', { x: 0, y: y + 8, class: 'axis' }, title),
    svg('line', { x1: 0, x2: size, y1: y + 12 + height, y2: y + 12 + height, class: 'base' }));
  spans.forEach((span, index) => {
    const left = x(before + span.begin_ns);
    const width = Math.max(x(before + span.end_ns) - left - 0.4, 0.6);
    const bar = Math.max(1, Math.min(1, values[index] / most) * height);
    group.append(svg('rect', { x: left, y: y + 12 + height - bar, width, height: bar, class: `span ${span.kind}` },
      svg('title', {}, titleOf(span, values[index]))));
  });
  return group;
}

function stepTable(spans) {
  const head = ['At', 'What', 'Steps', 'Tokens', 'Requests', 'Forward'];
  const rows = spans.map((span) => element('tr', {}, ...[
    format.duration(span.begin_ns),
    span.kind + (span.was_preempted ? ' again' : ''),
    span.steps,
    span.kind === 'prefill' ? span.prompt_tokens : span.output_tokens,
    span.mean_sequences.toFixed(1),
    format.duration(span.forward_ns),
  ].map((text) => element('td', {}, String(text)))));
  return element('details', { class: 'steps' },
    element('summary', {}, 'Its steps as a table'),
    element('div', { class: 'table-frame', tabindex: 0, role: 'region', 'aria-label': 'Steps' },
      element('table', {},
        element('thead', {}, element('tr', {}, ...head.map((text) => element('th', { scope: 'col' }, text)))),
        element('tbody', {}, ...rows))));
}
