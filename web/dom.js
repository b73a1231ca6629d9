// Small helpers to make elements. Text is always text: nothing here reads HTML.

const SVG = 'http://www.w3.org/2000/svg';

function fill(node, properties, children) {
  const tag = node.localName;
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith('on')) node.addEventListener(name.slice(2), value);
    else if (name === 'data') Object.assign(node.dataset, value);
    else if (name === 'value' && tag !== 'progress') node.value = value;
    else node.setAttribute(name, value === true ? '' : value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}

export function element(tag, properties = {}, ...children) {
  return fill(document.createElement(tag), properties, children);
}

export function svg(tag, properties = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), properties, children);
}

export function icon(name) {
  return svg('svg', { 'aria-hidden': 'true' }, svg('use', { href: `#icon-${name}` }));
}

export function iconButton(name, label, onclick, properties = {}) {
  return element('button', {
    type: 'button', class: 'icon', 'aria-label': label, title: label, onclick, ...properties,
  }, icon(name));
}

export const byId = (id) => document.getElementById(id);

// Said by screen readers, shown nowhere.
export function announce(text) {
  byId('announcer').textContent = text;
}

// A dialog with a title, its content and a button that closes it. Empty again when it closes.
export function openDialog(dialog, title, ...content) {
  const id = dialog.getAttribute('aria-labelledby');
  dialog.replaceChildren(
    element('div', { class: 'dialog-head' },
      element('h2', { id }, title),
      iconButton('close', 'Close', () => dialog.close())),
    element('div', { class: 'dialog-body' }, ...content));
  dialog.onclick = (event) => {
    if (event.target === dialog) dialog.close();
  };
  dialog.addEventListener('close', () => dialog.replaceChildren(), { once: true });
  if (!dialog.open) dialog.showModal();
}

// Resolves to whether the person agrees.
export function confirmDialog(title, text, action) {
  const dialog = byId('confirm-dialog');
  return new Promise((resolve) => {
    let agreed = false;
    openDialog(dialog, title,
      element('p', {}, text),
      element('div', { class: 'buttons' },
        element('button', { type: 'button', onclick: () => dialog.close() }, 'Cancel'),
        element('button', {
          type: 'button', class: 'danger', autofocus: true,
          onclick: () => { agreed = true; dialog.close(); },
        }, action)));
    dialog.addEventListener('close', () => resolve(agreed), { once: true });
  });
}

export async function copyText(text, button) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {  // not allowed on plain HTTP beyond this machine
    const area = element('textarea', { class: 'visually-hidden', value: text });
    document.body.append(area);
    area.select();
    document.execCommand('copy');
    area.remove();
  }
  const before = button.firstElementChild;
  button.replaceChildren(icon('check'));
  announce('Copied');
  setTimeout(() => button.replaceChildren(before), 1200);
}
