import { lazy, Suspense, useEffect, useRef } from "react";
import { asked, focusBack } from "./act";
import { secrets } from "./once";

const Dialog = lazy(() => import("./ActionDialog"));
const Once = lazy(() => import("./Once"));

/** Where the dialogs of `act(...)` appear; once, in the shell. */
export function ActionHost() {
  const what = asked.use();
  const secret = secrets.use().length > 0;
  const open = Boolean(what) || secret;
  const was = useRef(open);
  useEffect(() => {
    if (was.current && !open) requestAnimationFrame(focusBack);
    was.current = open;
  }, [open]);
  return (
    <Suspense>
      {what && <Dialog key={what.number} what={what} close={() => asked.set(null)} />}
      {secret && <Once />}
    </Suspense>
  );
}
