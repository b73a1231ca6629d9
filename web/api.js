// The server's API. Paths are relative, so that the page also works behind a proxy's prefix.

const KEY = 'sluice-key';

export class ApiError extends Error {
  constructor(message, status, retryAfter = 0) {
    super(message);
    this.status = status;  // 0: no reply at all
    this.retryAfter = retryAfter;  // seconds; 0: not said
  }
}

// Kept until the tab is closed; where the browser keeps nothing, until the page is left.
let keyOfThisPage = '';
export const key = {
  get() {
    try {
      return sessionStorage.getItem(KEY) ?? keyOfThisPage;
    } catch {
      return keyOfThisPage;
    }
  },
  set(value) {
    keyOfThisPage = value;
    try {
      sessionStorage.setItem(KEY, value);
    } catch {
      // Not allowed.
    }
  },
};

// Called when the server wants a key: resolves to whether there is a new one to try.
let askForKey = async () => false;
export function onKeyNeeded(ask) {
  askForKey = ask;
}

async function errorOf(response) {
  const text = await response.text().catch(() => '');
  let message = '';
  try {
    const body = JSON.parse(text);
    message = typeof body.error === 'string' ? body.error : body.error?.message ?? '';
  } catch {
    message = text.slice(0, 300);
  }
  if (!message && response.status === 403) {
    message = 'the server does not let this page ask it (is its address allowed? serve --origin)';
  }
  return new ApiError(message || `the server answered with status ${response.status}`,
    response.status, Number(response.headers.get('Retry-After')) || 0);
}

// A response that is a success. Throws ApiError, and AbortError when `signal` was used.
export async function call(path, { method = 'GET', body, signal, headers = {}, asks = true } = {}) {
  const options = { method, signal, headers: { ...headers }, cache: 'no-store' };
  if (key.get()) options.headers.Authorization = `Bearer ${key.get()}`;
  if (body !== undefined) {
    options.body = JSON.stringify(body);
    options.headers['Content-Type'] = 'application/json';
  }
  let response;
  try {
    response = await fetch(new URL(path, document.baseURI), options);
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new ApiError('the server cannot be reached', 0);
  }
  if (response.ok) return response;
  const error = await errorOf(response);
  if (error.status === 401 && asks && await askForKey(error.message)) {
    return call(path, { method, body, signal, headers, asks });
  }
  throw error;
}

export async function getJson(path, options) {
  const response = await call(path, options);
  return response.json();
}

function parseLine(line) {
  let object = null;
  try {
    object = JSON.parse(line);
  } catch {
    // As below.
  }
  if (object === null || typeof object !== 'object') throw new ApiError('the server sent what is no reply', 0);
  return object;
}

// The objects of a streamed reply, line by line. A broken stream throws ApiError.
export async function* readLines(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  try {
    for (;;) {
      let part;
      try {
        part = await reader.read();
      } catch (error) {
        if (error.name === 'AbortError') throw error;
        throw new ApiError('the connection broke in the middle of the reply', 0);
      }
      if (part.done) break;
      const lines = (rest + part.value).split('\n');
      rest = lines.pop();
      for (const line of lines) {
        if (line.trim()) yield parseLine(line);
      }
    }
    if (rest.trim()) yield parseLine(rest);
  } finally {
    reader.cancel().catch(() => {});
  }
}
