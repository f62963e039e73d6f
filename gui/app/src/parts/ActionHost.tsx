import { lazy, Suspense } from "react";
import { asked } from "./act";

const Dialog = lazy(() => import("./ActionDialog"));

/** Where the dialogs of `act(...)` appear; once, in the shell. */
export function ActionHost() {
  const what = asked.use();
  return what ? <Suspense><Dialog key={what.number} what={what} close={() => asked.set(null)} /></Suspense> : null;
}
