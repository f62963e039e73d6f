// A value that components watch.

import { useSyncExternalStore } from "react";

export function store<T>(value: T) {
  const listeners = new Set<() => void>();
  const get = () => value;
  return {
    get,
    set(change: T | ((old: T) => T)) {
      value = typeof change === "function" ? (change as (old: T) => T)(value) : change;
      listeners.forEach((tell) => tell());
    },
    use: () =>
      useSyncExternalStore((tell) => {
        listeners.add(tell);
        return () => listeners.delete(tell);
      }, get),
  };
}
