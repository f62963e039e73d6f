// Who is signed in. The cookie that proves it is out of reach of scripts; kept here is the second half, the session
// key, which every request repeats so that another site's page cannot speak for the user.

import { useSyncExternalStore } from "react";

export interface Session {
  sessionkey: string;
  userid: string;
  username: string;
  account: string;
  domainid: string;
  /** 0 user, 1 root admin, 2 domain admin, 3 resource admin, 4 read-only admin */
  type: string;
  firstname?: string;
  lastname?: string;
  timezone?: string;
  timeout?: number;
}

const KEPT = "mold.session";
const listeners = new Set<() => void>();
let session: Session | null = read();
/** True while the session has ended under an open page: the sign-in dialog stands over it. */
let expired = false;
let waiting: (() => void)[] = [];

function read(): Session | null {
  try {
    return JSON.parse(localStorage.getItem(KEPT) ?? "null");
  } catch {
    return null;
  }
}

const tell = () => listeners.forEach((each) => each());

/** A session that still waits for its second factor: requests carry its key, but nobody is signed in yet. */
let half: Session | null = null;
export const current = () => half ?? session;
export const isAdmin = () => session?.type === "1";

/** A sign-in succeeded. True when the page may stay as it is, because the same user came back. */
export function signedIn(made: Session): boolean {
  const same = !session || session.userid === made.userid;
  session = made;
  half = null;
  expired = false;
  localStorage.setItem(KEPT, JSON.stringify(made));
  const those = waiting;
  waiting = [];
  those.forEach((go) => go());
  tell();
  return same;
}

export function signedInQuietly(made: Session): void {
  half = made;
}

export function signedOut(): void {
  session = null;
  half = null;
  expired = false;
  localStorage.removeItem(KEPT);
  tell();
}

/** The session ended; resolves when somebody has signed in again. */
export function renewed(usedKey: string): Promise<void> {
  if (session && session.sessionkey !== usedKey) return Promise.resolve();
  expired = true;
  tell();
  return new Promise((go) => waiting.push(go));
}

// Another tab signed in or out.
globalThis.addEventListener?.("storage", (event) => {
  if (event.key !== KEPT) return;
  const told = read();
  if (told && (!session || told.userid === session.userid)) signedIn(told);
  else if (told?.sessionkey !== session?.sessionkey) location.reload();
});

function subscribe(listener: () => void) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}
export const useSession = () => useSyncExternalStore(subscribe, () => session);
export const useExpired = () => useSyncExternalStore(subscribe, () => expired);
