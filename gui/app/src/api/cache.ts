// A drawer in IndexedDB for what is too large for localStorage. Where there is none, nothing is kept.

function open(): Promise<IDBDatabase> {
  return new Promise((good, bad) => {
    const asked = indexedDB.open("mold", 1);
    asked.onupgradeneeded = () => asked.result.createObjectStore("kept");
    asked.onsuccess = () => good(asked.result);
    asked.onerror = () => bad(asked.error);
  });
}

export async function kept<T>(key: string): Promise<T | undefined> {
  try {
    const base = await open();
    return await new Promise((good) => {
      const asked = base.transaction("kept").objectStore("kept").get(key);
      asked.onsuccess = () => good(asked.result as T);
      asked.onerror = () => good(undefined);
    });
  } catch {
    return undefined;
  }
}

export async function keep(key: string, value: unknown): Promise<void> {
  try {
    const base = await open();
    base.transaction("kept", "readwrite").objectStore("kept").put(value, key);
  } catch {
    // a browser that keeps nothing asks again next time
  }
}
