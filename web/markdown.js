// What a model writes, as Markdown. It is not trusted: HTML in it is shown as text, what the parser
// makes goes through DOMPurify with a short list of tags, and images are links, since fetching one
// would tell somebody that this was read.
import { copyText, element, iconButton } from './dom.js';

const TAGS = ['p', 'br', 'hr', 'strong', 'em', 'del', 'code', 'pre', 'blockquote', 'ul', 'ol', 'li',
  'a', 'h1', 'h2', 'h3', 'h4', 'h5', 'h6', 'table', 'thead', 'tbody', 'tr', 'th', 'td', 'input'];
const ATTRIBUTES = ['href', 'title', 'class', 'align', 'start', 'type', 'checked', 'disabled'];

let isReady = false;

function escape(text) {
  return text.replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);
}

function prepare() {
  if (isReady) return;
  isReady = true;
  globalThis.marked.use({
    gfm: true,
    breaks: true,
    headerIds: false,
    mangle: false,
    renderer: {
      html: (text) => escape(text),
      image: (href, title, text) =>
        `<a href="${escape(href ?? '')}">${escape(text || title || href || 'image')}</a>`,
    },
  });
}

// A fragment for `text`; plain text if the libraries could not be loaded or the parser fails.
export function render(text) {
  if (!globalThis.marked || !globalThis.DOMPurify) return plain(text);
  prepare();
  let fragment;
  try {
    fragment = globalThis.DOMPurify.sanitize(globalThis.marked.parse(text), {
      ALLOWED_TAGS: TAGS,
      ALLOWED_ATTR: ATTRIBUTES,
      ALLOW_DATA_ATTR: false,
      ALLOW_ARIA_ATTR: false,
      ALLOWED_URI_REGEXP: /^(?:https?|mailto):/i,
      ADD_URI_SAFE_ATTR: ['align', 'start', 'type', 'checked', 'disabled'],  // these hold no addresses
      RETURN_DOM_FRAGMENT: true,
    });
  } catch {
    return plain(text);
  }
  for (const link of fragment.querySelectorAll('a')) {
    link.target = '_blank';
    link.rel = 'noopener noreferrer nofollow';
  }
  for (const box of fragment.querySelectorAll('input')) {
    if (box.type === 'checkbox') box.disabled = true;
    else box.remove();
    box.setAttribute('aria-label', box.checked ? 'done' : 'to do');
  }
  for (const table of fragment.querySelectorAll('table')) {
    const frame = element('div', { class: 'table-frame', tabindex: 0, role: 'region', 'aria-label': 'Table' });
    table.replaceWith(frame);
    frame.append(table);
  }
  for (const pre of fragment.querySelectorAll('pre')) decorateCode(pre);
  return fragment;
}

function plain(text) {
  const fragment = document.createDocumentFragment();
  fragment.append(element('p', { class: 'plain' }, text));
  return fragment;
}

// The language and a button that copies.
function decorateCode(pre) {
  const code = pre.querySelector('code');
  const language = /language-([\w+#.-]{1,30})/.exec(code?.className ?? '')?.[1] ?? '';
  const button = iconButton('copy', 'Copy the code', () => copyText(pre.textContent, button));
  const frame = element('div', { class: 'code' });
  pre.replaceWith(frame);
  pre.tabIndex = 0;
  frame.append(element('div', { class: 'code-head' }, element('span', {}, language), button), pre);
}

// Renders into `node` while text grows, not more often than the machine bears.
export class StreamedMarkdown {
  constructor(node) {
    this.node = node;
    this.text = '';
    this.timer = 0;
    this.pause = 40;
  }

  push(text) {
    this.text = text;
    this.timer ||= setTimeout(() => this.draw(), this.pause);
  }

  draw() {
    clearTimeout(this.timer);
    this.timer = 0;
    const begin = performance.now();
    this.node.replaceChildren(render(this.text));
    this.pause = Math.min(1000, Math.max(40, 5 * (performance.now() - begin)));
  }

  finish() {
    this.draw();
  }
}
