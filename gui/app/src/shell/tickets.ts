// Consoles of machines run on pages of their own, which know no session. They ask the signed-in pages of this browser
// for a ticket on the channel `mold-console`: {wants: "ticket", machine, number}; the answer is {number, ticket}, or {number, away} while
// the server does not answer.

import { call, Fault } from "../api/client";

/** Answer consoles until the returned function is called. */
export function answerConsoles(): () => void {
  const channel = new BroadcastChannel("mold-console");
  channel.onmessage = async ({ data }) => {
    if (data?.wants !== "ticket" || typeof data.machine !== "string" || !data.machine) return;
    try {
      const made = (await call("createConsoleEndpoint", { virtualmachineid: data.machine })).consoleendpoint;
      if (made?.success !== false && made?.websocket?.token) channel.postMessage({ number: data.number, ticket: made.websocket.token });
    } catch (no) {
      if (no instanceof Fault && (no.about.code === 0 || no.about.code >= 500)) channel.postMessage({ number: data.number, away: true });
      // otherwise the console says by itself that nobody answered
    }
  };
  return () => channel.close();
}
