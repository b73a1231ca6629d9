// What a chat asks of its model beside its messages.
import { byId, element, openDialog } from './dom.js';

export const DEFAULTS = { system: '' };

// Name as in Ollama's options, label, hint, and the bounds of its field.
const FIELDS = [
  ['temperature', 'Temperature', '0: always the likeliest; higher: more varied', { min: 0, max: 2, step: 0.05 }],
  ['num_predict', 'Longest reply', 'In tokens', { min: 1, max: 1000000, step: 1 }],
  ['num_ctx', 'Context', 'Tokens of prompt and reply together', { min: 16, max: 10000000, step: 1 }],
  ['top_p', 'Top p', 'Only the likeliest tokens of this share', { min: 0, max: 1, step: 0.01 }],
  ['top_k', 'Top k', 'Only that many of the likeliest', { min: 1, max: 100000, step: 1 }],
  ['repeat_penalty', 'Repeat penalty', '1 is none', { min: 0.5, max: 2, step: 0.01 }],
  ['seed', 'Seed', 'The same one, the same reply', { min: 0, max: 4294967295, step: 1 }],
];

// The request's "options".
export function optionsOf(settings) {
  const options = {};
  for (const [name] of FIELDS) {
    if (settings[name] !== undefined && settings[name] !== '') options[name] = Number(settings[name]);
  }
  return options;
}

// How many are not as they come.
export function numChanged(settings) {
  return Object.keys(optionsOf(settings)).length + (settings.system ? 1 : 0);
}

// Calls `onchange` with new settings as soon as they are changed.
export function openSettings(settings, onchange) {
  const current = { ...settings };
  const tell = () => onchange({ ...current });
  const system = element('textarea', {
    id: 'set-system', rows: 3, value: current.system ?? '',
    placeholder: 'You are a patient teacher of mathematics.',
    oninput: (event) => { current.system = event.target.value; tell(); },
  });
  const fields = FIELDS.map(([name, label, hint, bounds]) => {
    const input = element('input', {
      id: `set-${name}`, type: 'number', inputmode: 'decimal', placeholder: name === 'seed' ? 'random' : 'default',
      'aria-describedby': `hint-${name}`, value: current[name] ?? '', ...bounds,
      oninput: (event) => {
        const field = event.target;
        field.setAttribute('aria-invalid', String(!field.validity.valid));
        if (!field.validity.valid) return;
        if (field.value === '') delete current[name];
        else current[name] = field.value;
        tell();
      },
    });
    return element('div', { class: 'field' },
      element('label', { for: input.id }, label), input,
      element('p', { class: 'quiet', id: `hint-${name}` }, hint));
  });
  const reset = element('button', {
    type: 'button',
    onclick: () => {
      for (const name of Object.keys(current)) delete current[name];
      current.system = '';
      tell();
      openSettings(current, onchange);
    },
  }, 'Back to defaults');
  openDialog(byId('settings-dialog'), 'Settings of this chat',
    element('div', { class: 'field' },
      element('label', { for: 'set-system' }, 'System prompt'), system,
      element('p', { class: 'quiet' }, 'Who the model is, and how it replies')),
    element('div', { class: 'fields' }, ...fields),
    element('div', { class: 'buttons' }, reset));
}
