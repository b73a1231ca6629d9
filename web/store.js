// Conversations, kept in this browser: IndexedDB, or memory where that is not allowed.

const memory = new Map();
let opening = null;

function open() {
  opening ??= new Promise((resolve) => {
    let request;
    try {
      request = indexedDB.open('sluice', 1);
    } catch {
      resolve(null);
      return;
    }
    request.onupgradeneeded = () => {
      request.result.createObjectStore('conversations', { keyPath: 'id' });
    };
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => resolve(null);
    request.onblocked = () => resolve(null);
  });
  return opening;
}

function finished(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

async function table(mode) {
  const database = await open();
  return database?.transaction('conversations', mode).objectStore('conversations');
}

// Whether what is saved is there when the page is opened again.
export async function isLasting() {
  return Boolean(await open());
}

// The newest first.
export async function allConversations() {
  const store = await table('readonly');
  const list = store ? await finished(store.getAll()) : [...memory.values()];
  return list.sort((a, b) => b.updated - a.updated);
}

export async function saveConversation(conversation) {
  const copy = structuredClone(conversation);
  const store = await table('readwrite');
  if (!store) {
    memory.set(copy.id, copy);
    return;
  }
  await finished(store.put(copy));
}

export async function removeConversation(id) {
  memory.delete(id);
  const store = await table('readwrite');
  if (store) await finished(store.delete(id));
}

export async function removeAllConversations() {
  memory.clear();
  const store = await table('readwrite');
  if (store) await finished(store.clear());
}

// Small settings: the model and parameters of the next chat.
export const preferences = {
  get(name, fallback) {
    try {
      return JSON.parse(localStorage.getItem(`sluice-${name}`)) ?? fallback;
    } catch {
      return fallback;
    }
  },
  set(name, value) {
    try {
      localStorage.setItem(`sluice-${name}`, JSON.stringify(value));
    } catch {
      // Full or not allowed: it is not remembered.
    }
  },
};
