// The chat: conversations, their messages, and the reply that streams in.
import { ApiError, call, getJson, readLines } from './api.js';
import { announce, byId, confirmDialog, copyText, element, icon, iconButton } from './dom.js';
import * as format from './format.js';
import { openLife } from './life.js';
import { StreamedMarkdown, render } from './markdown.js';
import { numChanged, openSettings, optionsOf, DEFAULTS } from './settings.js';
import * as store from './store.js';

const state = {
  conversations: [],  // the newest first
  current: null,      // may be none of them yet: it has no message
  models: [],
  isListed: false,    // whether there has been a list of models, or a fault in its place
  fault: null,        // why there is no list of models
  reply: null,        // under way: {conversation, message, abort, view, ...}, see generate()
};

function fresh() {
  return {
    id: crypto.randomUUID?.() ?? String(Math.random()).slice(2),
    title: '',
    created: Date.now(),
    updated: Date.now(),
    model: store.preferences.get('model', ''),
    settings: store.preferences.get('settings', DEFAULTS),
    messages: [],
  };
}

function save(conversation) {
  store.saveConversation(conversation).catch(() => note('This browser keeps no more: the chat is not saved.'));
}

function note(text) {
  byId('note').textContent = text;
}

// --- conversations -----------------------------------------------------------------------------

function dayOf(time) {
  const day = new Date(time).toDateString();
  if (day === new Date().toDateString()) return 'Today';
  if (day === new Date(Date.now() - 86400e3).toDateString()) return 'Yesterday';
  return 'Earlier';
}

function drawConversations() {
  const list = byId('conversations');
  const groups = new Map();
  for (const conversation of state.conversations) {
    const day = dayOf(conversation.updated);
    if (!groups.has(day)) groups.set(day, []);
    groups.get(day).push(conversationItem(conversation));
  }
  list.replaceChildren(...[...groups].map(([day, items]) =>
    element('section', { 'aria-label': day }, element('h2', {}, day), element('ul', {}, ...items))));
  if (state.conversations.length > 1) {
    list.append(element('button', { type: 'button', class: 'link', onclick: removeAll }, 'Remove all'));
  }
}

function conversationItem(conversation) {
  const isCurrent = conversation.id === state.current?.id;
  return element('li', { class: isCurrent ? 'current' : '' },
    element('button', {
      type: 'button', class: 'title', 'aria-current': isCurrent ? 'true' : undefined,
      onclick: () => { show(conversation); closeSidebar(); },
    }, conversation.title || 'Untitled'),
    iconButton('trash', `Remove “${conversation.title || 'Untitled'}”`, () => remove(conversation)));
}

async function remove(conversation) {
  if (!await confirmDialog('Remove this chat?', `“${conversation.title || 'Untitled'}” is kept in this browser only and will be gone.`, 'Remove')) return;
  if (state.reply?.conversation === conversation) stop();  // which saves it: before it is removed
  state.conversations = state.conversations.filter((other) => other !== conversation);
  await store.removeConversation(conversation.id);
  if (state.current === conversation) show(fresh());
  else drawConversations();
}

async function removeAll() {
  if (!await confirmDialog('Remove all chats?', 'They are kept in this browser only and will be gone.', 'Remove all')) return;
  stop();
  state.conversations = [];
  await store.removeAllConversations();
  show(fresh());
}

function show(conversation) {
  state.current = conversation;
  if (!conversation.model && state.models.length) conversation.model = state.models[0].name;
  drawModels();
  drawConversations();
  drawMessages();
  updateButtons();
}

export function newChat() {
  show(fresh());
  byId('prompt').focus();
  closeSidebar();
}

// --- models ------------------------------------------------------------------------------------

export async function loadModels() {
  try {
    const list = await getJson('api/tags');
    state.models = list.models ?? [];
    state.fault = null;
  } catch (error) {
    state.models = [];
    state.fault = error;
  }
  state.isListed = true;
  if (state.current && !state.current.model && state.models.length) {
    state.current.model = state.models[0].name;
  }
  drawModels();
  if (state.current && !state.current.messages.length) drawMessages();
}

function drawModels() {
  const select = byId('model');
  const names = state.models.map((model) => model.name);
  const wanted = state.current?.model ?? '';
  if (wanted && !names.includes(wanted)) names.unshift(wanted);
  select.replaceChildren(...names.map((name) => element('option', { value: name }, name)));
  if (!names.length) select.append(element('option', { value: '' }, 'no models'));
  select.value = wanted;
  select.disabled = !names.length;
}

// --- messages ----------------------------------------------------------------------------------

function drawMessages() {
  const list = byId('messages');
  const messages = state.current.messages;
  if (!messages.length) {
    list.replaceChildren(welcome());
    return;
  }
  list.replaceChildren(...messages.map((message, index) => messageView(message, index).node));
  const running = state.reply;
  if (running?.conversation === state.current) {
    running.view = messageView(running.message, messages.length);
    list.append(running.view.node);
    running.update();
  }
  scrollToEnd();
}

function welcome() {
  if (!state.isListed) return element('div', { class: 'welcome' });
  if (state.fault) {
    const wantsKey = state.fault.status === 401;
    return element('div', { class: 'welcome' },
      element('h1', {}, wantsKey ? 'This server wants an API key' : 'No models can be shown'),
      element('p', {}, wantsKey ? 'Without one it tells and answers nothing.' : `The server says: ${state.fault.message}`),
      element('button', { type: 'button', class: 'primary', onclick: loadModels }, wantsKey ? 'Enter a key' : 'Look again'));
  }
  if (!state.models.length) {
    return element('div', { class: 'welcome' },
      element('h1', {}, 'No models yet'),
      element('p', {}, 'Fetch one in a terminal, and it is here:'),
      element('pre', { tabindex: 0 }, 'sluice pull hf.co/bartowski/Llama-3.2-1B-Instruct-GGUF:Q4_K_M'),
      element('button', { type: 'button', onclick: loadModels }, 'Look again'));
  }
  return element('div', { class: 'welcome' },
    element('h1', {}, 'What is on your mind?'),
    element('p', {}, `What you write goes to ${state.current.model} on ${location.host}, and nowhere else.`));
}

function messageView(message, index) {
  const body = element('div', { class: 'markdown' });
  const status = element('p', { class: 'status quiet', hidden: true });
  const foot = element('div', { class: 'foot' });
  const isUser = message.role === 'user';
  const view = { body, status, foot, markdown: new StreamedMarkdown(body), thinking: null };
  const parts = [];
  if (!isUser) {
    view.thinkingText = element('div', { class: 'markdown' });
    view.thinking = element('details', { class: 'thinking', hidden: !message.thinking },
      element('summary', {}, 'Thinking'), view.thinkingText);
    view.thoughts = new StreamedMarkdown(view.thinkingText);
    if (message.thinking) view.thinkingText.append(render(message.thinking));
    parts.push(view.thinking);
  }
  if (isUser) body.append(element('p', { class: 'plain' }, message.content));
  else if (message.content) body.append(render(message.content));
  view.node = element('article', { class: `message ${message.role}`, 'aria-label': isUser ? 'You' : message.model ?? 'Reply' },
    ...parts, body, status, foot);
  if (message.error) view.node.append(errorView(message, index));
  drawFoot(view, message, index);
  return view;
}

function errorView(message, index) {
  return element('div', { class: 'error', role: 'alert' },
    element('p', {}, message.error),
    element('button', { type: 'button', onclick: () => regenerate(index) }, 'Try again'));
}

function drawFoot(view, message, index) {
  const buttons = element('span', { class: 'actions' });
  const copy = iconButton('copy', 'Copy', () => copyText(message.content, copy));
  buttons.append(copy);
  if (message.role === 'user') {
    buttons.append(iconButton('edit', 'Edit and send again', () => edit(index)));
  } else {
    buttons.append(iconButton('redo', 'Another reply', () => regenerate(index)));
  }
  view.foot.replaceChildren(buttons, ...(message.stats ? [statsView(message)] : []));
}

// "42 tokens · 178 tokens/s · first after 20 ms · ended: a stop string".
function statsView(message) {
  const stats = message.stats;
  const texts = [format.plural(stats.tokens, 'token')];
  if (stats.speed) texts.push(`${format.rate(stats.speed)} tokens/s`);
  if (stats.first) texts.push(`first after ${format.duration(stats.first)}`);
  if (stats.dropped) texts.push(`${format.count(stats.dropped)} prompt tokens did not fit`);
  texts.push(`ended: ${stats.end}`);
  const text = element('span', { class: 'stats' }, texts.join(' · '));
  if (!message.requestId) return text;
  return element('span', { class: 'stats' }, texts.join(' · '), ' · ',
    element('button', { type: 'button', class: 'link', onclick: () => openLife(message.requestId) }, 'explain'));
}

function edit(index) {
  if (state.reply?.conversation === state.current) stop();  // which draws all messages anew
  const message = state.current.messages[index];
  const article = byId('messages').children[index];
  const area = element('textarea', { 'aria-label': 'Edit the message', value: message.content });
  const send = () => {
    const text = area.value.trim();
    if (!text) return;
    state.current.messages.length = index;
    ask(text);
  };
  const cancel = () => drawMessages();
  area.addEventListener('keydown', (event) => {
    if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      send();
    } else if (event.key === 'Escape') {
      event.stopPropagation();
      cancel();
    }
  });
  article.replaceChildren(area, element('div', { class: 'buttons' },
    element('button', { type: 'button', onclick: cancel }, 'Cancel'),
    element('button', { type: 'button', class: 'primary', onclick: send }, 'Send')));
  grow(area);
  area.addEventListener('input', () => grow(area));
  area.focus();
}

// Another reply in place of the one at `index`, and of what followed it.
function regenerate(index) {
  if (state.reply) stop();
  const messages = state.current.messages;
  messages.length = index;
  while (messages.length && messages.at(-1).role !== 'user') messages.pop();
  if (messages.length) generate(state.current);
}

// --- a reply -----------------------------------------------------------------------------------

function ask(text) {
  const conversation = state.current;
  conversation.messages.push({ role: 'user', content: text });
  conversation.title ||= text.replace(/\s+/g, ' ').slice(0, 60);
  generate(conversation);
}

function requestBody(conversation) {
  const messages = conversation.messages
    .filter((message) => message.content || message.role === 'user')
    .map(({ role, content }) => ({ role, content }));
  if (conversation.settings.system) {
    messages.unshift({ role: 'system', content: conversation.settings.system });
  }
  return {
    model: conversation.model, messages, stream: true, queue_events: true,
    options: optionsOf(conversation.settings),
  };
}

async function generate(conversation) {
  conversation.updated = Date.now();
  if (!state.conversations.includes(conversation)) state.conversations.unshift(conversation);
  state.conversations.sort((a, b) => b.updated - a.updated);
  const message = { role: 'assistant', content: '', thinking: '', model: conversation.model };
  const reply = {
    conversation, message, abort: new AbortController(), view: null, waiting: 'Sending',
    update: () => drawReply(reply), saved: 0, isDone: false, isOver: false,
    pieces: 0, begin: performance.now(), first: 0, last: 0,  // when it was sent, and its pieces came
  };
  state.reply = reply;
  save(conversation);
  show(conversation);
  try {
    await receive(reply);
  } catch (error) {
    if (reply.isOver) return;  // it was stopped, and that is seen to
    message.error = errorText(error);
    if (reply.pieces) message.stats = statsSoFar(reply, 'an error');
  }
  finish(reply);
}

// Of a reply that the server has told no figures of: by this page's clock, a piece counted as a token.
function statsSoFar({ pieces, begin, first, last }, end) {
  return {
    tokens: pieces,
    speed: last > first ? (pieces - 1) / ((last - first) / 1e3) : 0,
    first: pieces ? (first - begin) * 1e6 : 0,
    end,
  };
}

function errorText(error) {
  if (!(error instanceof ApiError)) return `The page has a fault: ${error.message}`;
  if (error.status === 503) {
    const when = error.retryAfter ? ` It says to try again in ${format.plural(error.retryAfter, 'second')}.` : '';
    return `The server is full: ${error.message}.${when}`;
  }
  const text = error.message;
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}${/[.!?]$/.test(text) ? '' : '.'}`;
}

async function receive(reply) {
  const { conversation, message } = reply;
  const response = await call('api/chat', {
    method: 'POST', body: requestBody(conversation), signal: reply.abort.signal,
  });
  message.requestId = response.headers.get('X-Request-Id') ?? '';
  reply.waiting = 'Waiting for the first token';
  reply.update();
  for await (const line of readLines(response)) {
    if (reply.isOver) return;
    if (line.error) throw new ApiError(line.error, 200);
    takeLine(reply, line);
    if (reply.isDone) return;
  }
  throw new ApiError('the reply broke off', 0);
}

function takeLine(reply, line) {
  const { message } = reply;
  if (line.status === 'loading') {
    reply.waiting = `Loading the model: ${format.percent(line.progress)}`;
  } else if (line.status === 'queued') {
    const wait = line.estimated_wait > 0 ? `, about ${line.estimated_wait} s` : '';
    reply.waiting = `Number ${line.queue_position} in the queue${wait}`;
  }
  if (line.message?.thinking) message.thinking += line.message.thinking;
  if (line.message?.content) message.content += line.message.content;
  if (line.message?.content || line.message?.thinking) {
    reply.waiting = '';
    reply.pieces += 1;
    reply.last = performance.now();
    reply.first ||= reply.last;
  }
  if (line.done) {
    reply.isDone = true;
    message.stats = {
      tokens: line.eval_count ?? 0,
      speed: line.eval_count > 1 && line.eval_duration ? (line.eval_count - 1) / (line.eval_duration / 1e9) : 0,
      first: reply.pieces ? (reply.first - reply.begin) * 1e6 : 0,
      dropped: line.sluice?.dropped_tokens ?? 0,
      end: format.reason(line.sluice?.finish_reason ?? line.done_reason),
    };
  }
  reply.update();
  if (reply.pieces && Date.now() - reply.saved > 1000) saveSoFar(reply);
}

// As it stands, with the end that it has if the page goes away now.
function saveSoFar(reply) {
  reply.saved = Date.now();
  const message = { ...reply.message, stats: reply.message.stats ?? statsSoFar(reply, 'the page was closed') };
  save({ ...reply.conversation, messages: [...reply.conversation.messages, message] });
}

function drawReply(reply) {
  const { view, message } = reply;
  if (!view) return;
  const atEnd = isAtEnd();
  view.status.textContent = reply.waiting;
  view.status.hidden = !reply.waiting;
  view.node.classList.toggle('streaming', !reply.isDone);
  if (message.thinking) {
    view.thinking.hidden = false;
    view.thoughts.push(message.thinking);
  }
  if (message.content) view.markdown.push(message.content);
  if (atEnd) requestAnimationFrame(() => scrollToEnd());
}

function finish(reply) {
  const { conversation, message, view } = reply;
  reply.isOver = true;
  state.reply = null;
  note('');
  view?.markdown.finish();
  conversation.updated = Date.now();
  // Of a reply that never began only the error is worth keeping.
  conversation.messages.push(message);
  save(conversation);
  if (state.conversations.includes(conversation) && conversation === state.current) {
    const wasAtEnd = isAtEnd();
    const top = byId('messages').scrollTop;
    drawMessages();
    if (!wasAtEnd) byId('messages').scrollTop = top;
  }
  updateButtons();
  if (message.error) announce(`Error: ${message.error}`);
  else announce(`${message.stats?.end === 'stopped' ? 'Stopped' : 'Reply complete'}: ${message.content.slice(0, 200)}`);
}

// Its end is here when this returns: what follows may change the conversation.
export function stop() {
  const { reply } = state;
  if (!reply) return;
  reply.message.stats ??= statsSoFar(reply, 'stopped');
  finish(reply);
  reply.abort.abort();
}

// --- the frame around it -----------------------------------------------------------------------

function updateButtons() {
  const isRunning = Boolean(state.reply);
  const button = byId('send');
  button.replaceChildren(icon(isRunning ? 'stop' : 'send'));
  button.setAttribute('aria-label', isRunning ? 'Stop' : 'Send');
  button.classList.toggle('stop', isRunning);
  const changed = numChanged(state.current.settings);
  byId('settings').classList.toggle('changed', changed > 0);
  byId('settings').setAttribute('aria-label', changed
    ? `Settings of this chat, ${changed} changed` : 'Settings of this chat');
  byId('export').disabled = !state.current.messages.length;
}

function isAtEnd() {
  const list = byId('messages');
  return list.scrollHeight - list.scrollTop - list.clientHeight < 80;
}

function scrollToEnd() {
  const list = byId('messages');
  list.scrollTop = list.scrollHeight;
}

function grow(area) {
  area.style.height = 'auto';
  area.style.height = `${Math.min(area.scrollHeight + 2, window.innerHeight * 0.4)}px`;
}

function openSidebar() {
  byId('chat').classList.add('with-sidebar');
  byId('scrim').hidden = false;
  byId('menu').setAttribute('aria-expanded', 'true');
  byId('new-chat').focus();
}

function closeSidebar() {
  byId('chat').classList.remove('with-sidebar');
  byId('scrim').hidden = true;
  byId('menu').setAttribute('aria-expanded', 'false');
}

function exportChat() {
  const { title, messages } = state.current;
  const text = [`# ${title}`, ...messages.map(({ role, content, model }) =>
    `**${role === 'user' ? 'You' : model ?? 'Reply'}**\n\n${content}`)].join('\n\n');
  const url = URL.createObjectURL(new Blob([text], { type: 'text/markdown' }));
  const name = title.replace(/[^\w -]+/g, '').trim().slice(0, 40) || 'chat';
  element('a', { href: url, download: `${name}.md` }).click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}

// Until the chats and the models are there, what is sent waits.
let ready = Promise.resolve();

async function submit() {
  if (state.reply) {
    stop();
    return;
  }
  await ready;
  const area = byId('prompt');
  const text = area.value.trim();
  if (!text || state.reply) return;
  if (!state.current.model) {
    note('There is no model to ask.');
    return;
  }
  note('');
  area.value = '';
  grow(area);
  ask(text);
}

const KEEPS_NOTHING = 'This browser does not let the page keep chats: they end with it.';

async function begin() {
  try {
    state.conversations = await store.allConversations();
    if (!await store.isLasting()) note(KEEPS_NOTHING);
  } catch {
    note(KEEPS_NOTHING);
  }
  show(fresh());
  if (matchMedia('(min-width: 761px)').matches) byId('prompt').focus();
  await loadModels();
}

export async function startChat() {
  const prompt = byId('prompt');
  byId('composer').addEventListener('submit', (event) => { event.preventDefault(); submit(); });
  prompt.addEventListener('input', () => grow(prompt));
  prompt.addEventListener('keydown', (event) => {
    if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    if (state.reply) note('A reply is under way: Esc stops it.');
    else submit();
  });
  byId('new-chat').onclick = newChat;
  byId('menu').onclick = () =>
    (byId('chat').classList.contains('with-sidebar') ? closeSidebar() : openSidebar());
  byId('scrim').onclick = closeSidebar;
  byId('sidebar').addEventListener('keydown', (event) => {
    if (event.key === 'Escape' && byId('chat').classList.contains('with-sidebar')) {
      event.stopPropagation();  // that is not for the reply
      closeSidebar();
      byId('menu').focus();
    }
  });
  byId('model').onchange = (event) => {
    state.current.model = event.target.value;
    store.preferences.set('model', event.target.value);
    if (state.current.messages.length) save(state.current);
    else drawMessages();
  };
  byId('settings').onclick = () => openSettings(state.current.settings, (settings) => {
    state.current.settings = settings;
    store.preferences.set('settings', settings);
    if (state.current.messages.length) save(state.current);
    updateButtons();
  });
  byId('export').onclick = exportChat;
  byId('to-end').onclick = scrollToEnd;
  byId('messages').addEventListener('scroll', () => { byId('to-end').hidden = isAtEnd(); });
  addEventListener('pagehide', () => { if (state.reply) saveSoFar(state.reply); });
  ready = begin();
  await ready;
}
