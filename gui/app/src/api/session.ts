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
  /** Signed in with an identity provider, where the session has to end too. */
  saml?: boolean;
}

const KEPT = "mold.session";
const listeners = new Set<() => void>();
const came = returned();
let session: Session | null = came ? (came.half ? null : came.session) : read();
if (session && came) localStorage.setItem(KEPT, JSON.stringify(session));
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

/** Who comes back from an identity provider: the server says it in cookies, which are taken once. */
function returned(): { session: Session; half?: Record<string, string> } | null {
  const told = Object.fromEntries((globalThis.document?.cookie ?? "").split("; ").map((pair) => [pair.slice(0, pair.indexOf("=")), decodeURIComponent(pair.slice(pair.indexOf("=") + 1))]));
  if (told.isSAML !== "true" || !told.sessionkey || !told.userid) return null;
  for (const name of ["sessionkey", "userid", "domainid", "role", "username", "account", "isSAML", "twoFaEnabled", "twoFaProvider", "userfullname", "timezone", "managementserverid"]) document.cookie = `${name}=; path=/; max-age=0`;
  const [firstname, ...rest] = (told.userfullname ?? "").split(" ");
  const session: Session = { sessionkey: told.sessionkey, userid: told.userid, username: told.username, account: told.account, domainid: told.domainid, type: told.role, firstname, lastname: rest.join(" "), timezone: told.timezone, saml: true };
  return { session, half: told.twoFaEnabled === "true" ? { providerfor2fa: told.twoFaProvider ?? "" } : undefined };
}

const tell = () => listeners.forEach((each) => each());

/** A session that still waits for its second factor: requests carry its key, but nobody is signed in yet. */
let half: Session | null = came?.half ? came.session : null;
/** Who came back from an identity provider and has yet to show a second factor. */
export const halfway = (): (Session & Record<string, unknown>) | undefined => (half && came?.half ? { ...half, ...came.half } : undefined);
export const isHalf = () => half !== null;
export const current = () => half ?? session;
export const isAdmin = () => session?.type === "1";
/** Whether one sees the things of one's own account alone, so that it need not be named. */
export const isPlain = () => session?.type === "0";

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
