// The page of a machine's screen. Its address has a ticket that opens one connection; the server behind it signs in to
// the screen, so this page knows no password. Whatever the address says, it connects to its own server only, and
// what comes from the address is shown as text.
//
// For another connection it needs another ticket. It asks the signed-in pages of the same server in this browser, on
// the channel `mold-console`: {wants: "ticket", machine, number}; one of them calls createConsoleEndpoint and answers
// {ticket, number}, or {away: true, number} while the server does not answer. When none does, it says so.

import RFB from "./novnc-1.7.0/core/rfb.js";
import { HANGUL, HANJA, keysFor, usKey } from "./keys.js";

const KEY_PAUSE = 25; // milliseconds; a guest's keyboard holds 16 events and a slow guest loses the rest
const TICKET_WAIT = 2000; // milliseconds for a signed-in page to answer
const TRIES = [500, 1500, 3000, 6000, 12000]; // milliseconds before each attempt to connect by itself again
const REFUSED = 4403;
const GONE = 4410;
const GIVEN_UP = 1005; // noVNC has closed, because it did not understand
const SHIFT = [0xffe1, "ShiftLeft"];
const NAMED = Object.fromEntries(
  Object.entries({
    Enter: 0xff0d, Backspace: 0xff08, Tab: 0xff09, Escape: 0xff1b, Delete: 0xffff, Home: 0xff50, End: 0xff57,
    ArrowLeft: 0xff51, ArrowUp: 0xff52, ArrowRight: 0xff53, ArrowDown: 0xff54,
  }).map(([code, keysym]) => [code, { keysym, code, shift: false }]),
);

const at = (id) => document.getElementById(id);
const asked = new URLSearchParams(location.search);
const title = (asked.get("title") ?? "").slice(0, 120);
const machine = (asked.get("machine") ?? "").slice(0, 64);
const language = chosen() ?? (navigator.languages ?? [navigator.language]).find((each) => /^(ko|en)\b/i.test(each)) ?? "en";
const words = await (await fetch(`words/${language.slice(0, 2).toLowerCase()}.json`)).json();

/** The language that was chosen in the web console of this browser. */
function chosen() {
  try {
    return /^(ko|en)$/.exec(localStorage.getItem("mold.language") ?? "")?.[0] ?? null;
  } catch {
    return null; // a browser that keeps nothing
  }
}

let rfb = null;
const waiting = []; // keys that are still to be pressed
let pressing = false;

function word(key, facts = {}) {
  return (words[`console.${key}`] ?? key).replace(/\{(\w+)\}/g, (_, name) => String(facts[name] ?? ""));
}

function status(text) {
  at("status").textContent = text;
}

function state(now) {
  document.body.dataset.state = now;
  for (const button of document.querySelectorAll("[data-needs]")) button.disabled = now !== "open";
}

// ── connecting ───────────────────────────────────────────────────────────────────────────────────────────────────────

/** The ticket in an address: as `token`, or inside `path`, where noVNC's own page looks for it. */
function firstTicket() {
  const inside = new URLSearchParams((asked.get("path") ?? "").split("?").slice(1).join("?"));
  return asked.get("token") ?? inside.get("token") ?? "";
}

/** Connect with a ticket. The promise tells how it ended: {code, reason, shown}. */
function connect(ticket) {
  const address = new URL("websockify", location.href);
  address.protocol = location.protocol === "https:" ? "wss:" : "ws:";
  address.search = new URLSearchParams({ token: ticket, ...(asked.has("extra") && { extra: asked.get("extra") }) });
  address.hash = "";
  at("notice").hidden = true;
  at("screen").replaceChildren();
  state("connecting");
  status(word("connecting"));
  return new Promise((resolve) => {
    let shown = false;
    const socket = new WebSocket(address, ["binary"]);
    rfb = new RFB(at("screen"), socket, { shared: true });
    rfb.scaleViewport = true;
    rfb.showDotCursor = true;
    rfb.background = "transparent";
    resize();
    rfb.addEventListener("connect", () => {
      shown = true;
      state("open");
      status(word("open"));
      rfb.focus();
    });
    socket.addEventListener("close", ({ code, reason }) => {
      rfb = null;
      resolve({ code, reason, shown });
    });
  });
}

/** A new ticket from a signed-in page of this browser; null when there is none, false when it got no answer itself. */
function newTicket() {
  if (!machine || typeof BroadcastChannel === "undefined") return Promise.resolve(null);
  return new Promise((resolve) => {
    const channel = new BroadcastChannel("mold-console");
    const number = Math.random();
    let none = null;
    const done = (ticket) => {
      channel.close();
      clearTimeout(late);
      resolve(ticket);
    };
    const late = setTimeout(() => done(none), TICKET_WAIT);
    channel.onmessage = ({ data }) => {
      if (data?.number !== number) return;
      if (typeof data.ticket === "string") done(data.ticket);
      else if (data.away) none = false;
    };
    channel.postMessage({ wants: "ticket", machine, number });
  });
}

/** Show the screen, and again after it was lost, until there is nothing more to be done without a person. */
async function run(ticket) {
  at("again").disabled = true;
  let end = await connect(ticket);
  for (let tried = 0; end.code !== REFUSED && tried < TRIES.length; tried += 1) {
    notice(end);
    status(word("moved"));
    if (end.shown) tried = 0;
    await new Promise((resolve) => setTimeout(resolve, TRIES[tried]));
    const next = await newTicket();
    if (next === null) break;
    end = next ? await connect(next) : { ...end, shown: false };
  }
  notice(end);
  at("again").disabled = false;
}

function notice({ code, reason }) {
  const kind = code === REFUSED ? "refused" : code === GONE ? "gone" : code === GIVEN_UP ? "failed" : "broken";
  state("ended");
  status(word("ended"));
  at("what").textContent = word(`ended.${kind}`);
  at("why").textContent = word(`ended.${kind}.why`);
  at("detail").textContent = reason;
  at("notice").hidden = false;
}

async function again() {
  at("again").disabled = true;
  status(word("asking"));
  const ticket = await newTicket();
  if (ticket) {
    await run(ticket);
    return;
  }
  const alive = await fetch("vnc.html", { cache: "no-store" }).then((got) => got.ok, () => false);
  at("why").textContent = word(alive ? "no.ticket" : "no.server");
  status(word("ended"));
  at("again").disabled = false;
}

// ── keys ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

function strike({ keysym, code, shift }) {
  if (shift) rfb.sendKey(...SHIFT, true);
  rfb.sendKey(keysym, code);
  if (shift) rfb.sendKey(...SHIFT, false);
}

/** Press keys one after another, slowly enough for a guest. Many of them can be stopped with the paste button. */
async function press(keys, skipped = 0) {
  waiting.push(...keys);
  if (pressing) return;
  pressing = true;
  const many = waiting.length > 40;
  if (many) at("paste").textContent = word("typing.stop");
  for (let key = waiting.shift(); key && rfb; key = waiting.shift()) {
    strike(key);
    if (many && waiting.length % 10 === 0) status(word("typing", { left: waiting.length }));
    await new Promise((resolve) => setTimeout(resolve, KEY_PAUSE));
  }
  waiting.length = 0;
  pressing = false;
  at("paste").textContent = word("paste");
  if (rfb) status(skipped ? word("skipped", { count: skipped }) : word("open"));
}

// A telephone's keyboard writes into a field that nobody sees; what changes there becomes keys. A word that is still
// being put together is followed letter by letter in Latin, and taken whole in Hangul.
let followed = "";
function follow(text) {
  let same = 0;
  while (same < text.length && text[same] === followed[same]) same += 1;
  press([...Array(followed.length - same).fill(NAMED.Backspace), ...keysFor(text.slice(same)).keys]);
  followed = text;
}

const pad = at("pad");
pad.addEventListener("keydown", (event) => {
  if (event.isComposing) return;
  const key = NAMED[event.key] ?? ([...event.key].length === 1 ? usKey(event.key) : null);
  if (!key) return;
  event.preventDefault();
  press([key]);
});
pad.addEventListener("compositionstart", () => {
  followed = "";
});
pad.addEventListener("compositionupdate", (event) => {
  if (/^[\x20-\x7e]*$/.test(event.data)) follow(event.data);
});
pad.addEventListener("compositionend", (event) => {
  follow(event.data);
  pad.value = " ";
});
pad.addEventListener("input", (event) => {
  if (event.isComposing || event.inputType === "insertCompositionText") return;
  if (event.inputType === "deleteContentBackward") press([NAMED.Backspace]);
  else if (event.inputType === "insertLineBreak") press([NAMED.Enter]);
  else press(keysFor(event.data ?? "").keys);
  pad.value = " "; // something for the next Backspace to take away
});

// ── buttons ──────────────────────────────────────────────────────────────────────────────────────────────────────────

function resize() {
  if (!rfb) return;
  const actual = at("size").getAttribute("aria-pressed") === "true";
  rfb.scaleViewport = !actual;
  rfb.clipViewport = actual;
  rfb.dragViewport = actual;
}

function pressed(id, is) {
  at(id).setAttribute("aria-pressed", String(is));
}

at("cad").onclick = () => {
  rfb?.sendCtrlAltDel();
  rfb?.focus();
};
at("hangul").onclick = () => {
  press([HANGUL]);
  rfb?.focus();
};
at("hanja").onclick = () => {
  press([HANJA]);
  rfb?.focus();
};
at("paste").onclick = () => {
  if (pressing) waiting.length = 0;
  else at("sheet").showModal();
};
at("sheet").onclose = () => {
  const text = at("text").value;
  at("text").value = "";
  rfb?.focus();
  if (at("sheet").returnValue === "type") {
    const { keys, skipped } = keysFor(text, at("toggle").checked);
    press(keys, skipped);
  }
  at("sheet").returnValue = "";
};
at("size").onclick = () => {
  pressed("size", at("size").getAttribute("aria-pressed") !== "true");
  resize();
  rfb?.focus();
};
at("full").hidden = !document.fullscreenEnabled;
at("full").onclick = () => (document.fullscreenElement ? document.exitFullscreen() : document.documentElement.requestFullscreen());
document.onfullscreenchange = () => {
  pressed("full", document.fullscreenElement !== null);
  rfb?.focus();
};
at("keyboard").hidden = !matchMedia("(pointer: coarse)").matches;
at("keyboard").onclick = () => {
  pad.value = " ";
  pad.focus();
};
at("again").onclick = again;

document.documentElement.lang = language.slice(0, 2).toLowerCase();
document.title = title ? `${title} · ${word("title")}` : word("title");
at("name").textContent = title;
for (const each of document.querySelectorAll("[data-word]")) each.textContent = word(each.dataset.word);
for (const each of document.querySelectorAll("[data-label]")) each.setAttribute("aria-label", word(each.dataset.label));
run(firstTicket());
