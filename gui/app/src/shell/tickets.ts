// Consoles of machines run on pages of their own, which know no session. They ask the signed-in pages of this browser
// for a ticket on the channel `mold-console`: {wants: "ticket", machine, number}; the answer is {number, ticket}.

import { call } from "../api/client";

/** Answer consoles until the returned function is called. */
export function answerConsoles(): () => void {
  const channel = new BroadcastChannel("mold-console");
  channel.onmessage = async ({ data }) => {
    if (data?.wants !== "ticket" || typeof data.machine !== "string" || !data.machine) return;
    try {
      const made = (await call("createConsoleEndpoint", { virtualmachineid: data.machine })).consoleendpoint;
      if (made?.success !== false && made?.websocket?.token) channel.postMessage({ number: data.number, ticket: made.websocket.token });
    } catch {
      // the console says by itself that nobody answered
    }
  };
  return () => channel.close();
}
