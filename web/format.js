// Numbers as a person reads them.

export function count(value) {
  return Math.round(value).toLocaleString('en-US');
}

// Three digits or so: 0.42, 8.1, 178, 12,345.
export function rate(value) {
  if (!Number.isFinite(value)) return '–';
  if (Number.isInteger(value)) return count(value);
  if (value >= 100) return count(value);
  if (value >= 10) return value.toFixed(1);
  return value.toFixed(2);
}

export function bytes(value) {
  if (!Number.isFinite(value)) return '–';
  if (value === 0) return '0';
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${unit > 0 && value < 10 ? value.toFixed(1) : Math.round(value)} ${units[unit]}`;
}

export function percent(share) {
  return Number.isFinite(share) ? `${Math.round(share * 100)}%` : '–';
}

// From nanoseconds: 0.4 ms, 27 ms, 1.25 s, 3 min 20 s.
export function duration(nanoseconds) {
  if (!Number.isFinite(nanoseconds)) return '–';
  const seconds = nanoseconds / 1e9;
  if (seconds === 0) return '0';
  if (seconds < 0.01) return `${(seconds * 1e3).toFixed(1)} ms`;
  if (seconds < 1) return `${Math.round(seconds * 1e3)} ms`;
  if (seconds < 60) return `${seconds < 10 ? seconds.toFixed(2) : seconds.toFixed(1)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${Math.round(seconds % 60)} s`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

export function ago(date) {
  const seconds = Math.max(0, (Date.now() - date) / 1000);
  if (seconds < 60) return `${Math.round(seconds)} s ago`;
  if (seconds < 3600) return `${Math.round(seconds / 60)} min ago`;
  if (seconds < 86400) return `${Math.round(seconds / 3600)} h ago`;
  return new Date(date).toLocaleDateString();
}

const REASONS = {
  end_of_sequence: 'the model was done',
  stop_string: 'a stop string',
  max_tokens: 'the token limit',
  context_full: 'the context is full',
  cancelled: 'stopped',
  deadline: 'its time was over',
  embedded: 'embedding complete',
  error: 'an error',
};

export function reason(name) {
  return REASONS[name] ?? name ?? '';
}

export function plural(number, word) {
  return `${count(number)} ${word}${number === 1 ? '' : 's'}`;
}
