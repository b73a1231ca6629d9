// The page as a whole: which view is shown, colours, keys, and whether the server answers.
import { key, onKeyNeeded } from './api.js';
import { repaint } from './charts.js';
import { loadModels, newChat, startChat, stop } from './chat.js';
import { byId, element, icon, openDialog } from './dom.js';
import { startDashboard } from './dashboard.js';
import * as format from './format.js';
import { isForbidden, lookAgain, onSample, watch } from './watch.js';

const VIEWS = ['chat', 'dashboard'];
let shown = null;

function showView() {
  const wanted = location.hash.slice(1);
  const view = VIEWS.includes(wanted) ? wanted : 'chat';
  if (view === shown) return;
  shown = view;
  for (const name of VIEWS) {
    byId(name).hidden = name !== view;
    const tab = byId(`tab-${name}`);
    if (name === view) tab.setAttribute('aria-current', 'page');
    else tab.removeAttribute('aria-current');
  }
  byId('menu').classList.toggle('gone', view !== 'chat');
  document.title = view === 'chat' ? 'Sluice' : 'Dashboard · Sluice';
  watch(view === 'dashboard');
}

// The hash changes at once, its event comes later: what follows may already need the view.
function go(view) {
  location.hash = `#${view}`;
  showView();
}

// --- colours -----------------------------------------------------------------------------------

const THEMES = { auto: ['auto', 'as the system'], light: ['sun', 'light'], dark: ['moon', 'dark'] };

// theme.js reads it.
function rememberTheme(theme) {
  try {
    if (theme === 'auto') localStorage.removeItem('sluice-theme');
    else localStorage.setItem('sluice-theme', theme);
  } catch {
    // This browser keeps nothing.
  }
}

function setTheme(theme) {
  if (theme === 'auto') delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  rememberTheme(theme);
  const [name, text] = THEMES[theme];
  const button = byId('theme');
  button.replaceChildren(icon(name));
  button.setAttribute('aria-label', `Colours: ${text}`);
  button.title = `Colours: ${text}`;
  repaint();
}

function nextTheme() {
  const names = Object.keys(THEMES);
  const now = document.documentElement.dataset.theme ?? 'auto';
  setTheme(names[(names.indexOf(now) + 1) % names.length]);
}

// --- keys of the API ---------------------------------------------------------------------------

let asking = null;  // one dialog, whoever needs a key

function askForKey(message) {
  showState('bad', NEEDS_KEY);  // a sample that waits for the key does not come to say so
  asking ??= new Promise((resolve) => {
    const dialog = byId('key-dialog');
    let isGiven = false;
    const input = element('input', {
      id: 'api-key', type: 'password', autocomplete: 'off', spellcheck: 'false', required: true, autofocus: true,
    });
    const form = element('form', {
      method: 'dialog',
      onsubmit: () => { isGiven = true; key.set(input.value.trim()); },
    },
    element('p', {}, key.get() ? 'The server did not take this API key.' : 'This server wants an API key.'),
    key.get() ? element('p', { class: 'quiet' }, `It says: ${message}`) : null,
    element('div', { class: 'field' }, element('label', { for: 'api-key' }, 'API key'), input,
      element('p', { class: 'quiet' }, 'Whoever runs the server makes one: sluice key add NAME. It is kept until this tab is closed.')),
    element('div', { class: 'buttons' }, element('button', { class: 'primary' }, 'Use it')));
    openDialog(dialog, 'API key', form);
    dialog.addEventListener('close', () => {
      asking = null;
      resolve(isGiven);
      if (isGiven) loadModels().then(lookAgain);
    }, { once: true });
  });
  return asking;
}

// --- keyboard ----------------------------------------------------------------------------------

const KEYS = [
  ['Enter', 'send the message'],
  ['Shift + Enter', 'a new line'],
  ['Esc', 'stop the reply'],
  ['Alt + N', 'new chat'],
  ['Alt + C', 'chat'],
  ['Alt + D', 'dashboard'],
  ['/', 'to the message field'],
  ['?', 'this list'],
];

function openHelp() {
  openDialog(byId('help-dialog'), 'Keyboard', element('dl', { class: 'keys' },
    ...KEYS.map(([name, text]) => element('div', {}, element('dt', {}, element('kbd', {}, name)), element('dd', {}, text)))));
}

function onKey(event) {
  if (document.querySelector('dialog[open]')) return;
  const isTyping = event.target.matches('input, textarea, select');
  if (event.key === 'Escape') stop();
  else if (event.altKey && event.code === 'KeyN') { go('chat'); newChat(); }
  else if (event.altKey && event.code === 'KeyC') go('chat');
  else if (event.altKey && event.code === 'KeyD') go('dashboard');
  else if (!isTyping && event.key === '/') { go('chat'); byId('prompt').focus(); }
  else if (!isTyping && event.key === '?') openHelp();
  else return;
  event.preventDefault();
}

// --- the server --------------------------------------------------------------------------------

const NEEDS_KEY = 'needs an API key';

function showConnection({ sample, error }) {
  let [kind, text] = ['good', ''];
  if (sample) {
    text = sample.running || sample.waiting
      ? `${format.count(sample.running)} running${sample.waiting ? `, ${format.count(sample.waiting)} waiting` : ''}`
      : 'ready';
    if (sample.status.is_draining) [kind, text] = ['bad', 'about to end'];
  } else if (error.status === 401) {
    [kind, text] = ['bad', NEEDS_KEY];
  } else if (isForbidden(error)) {
    text = 'connected';
  } else {
    [kind, text] = ['bad', 'no connection'];
  }
  showState(kind, text);
}

function showState(kind, text) {
  const line = byId('connection');
  line.className = kind;
  const shown = line.querySelector('.text');
  if (shown.textContent !== text) shown.textContent = text;
}

onKeyNeeded(askForKey);
onSample(showConnection);
startDashboard();
addEventListener('hashchange', showView);
addEventListener('keydown', onKey);
byId('theme').onclick = nextTheme;
byId('help').onclick = openHelp;
setTheme(document.documentElement.dataset.theme ?? 'auto');
const chat = startChat();
showView();  // also while the list of models waits for a key
await chat;
