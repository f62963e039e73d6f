import type { Tone } from "../theme";
import { useWords } from "../words";

const GOOD = /^(running|up|enabled|ready|allocated|implemented|on|active|completed|connected|success|ok|created|backedup|accepted|true|setup|configured|poweron|available|bootstrapped|normal|idle|registered|succeeded|done|download complete)$/i;
const BAD = /^(error|down|alert|failed|fail|dead|destroyed|expunged|unhealthy|degraded|abandoned|false|crashed|unreachable|critical|notdownloaded|download_error|disconnected)$/i;
const WARN = /^(disabled|maintenance|errorinmaintenance|suspended|unknown|shutdowned|locked|suspect|recovering|unmanaged|warning|paused|expired|fenced|removed|prepareformaintenanceerror|scheduled|pending|closed)$/i;

/** What a state is, for its colour. */
export function toneOf(state: string): Tone {
  if (GOOD.test(state)) return "good";
  if (BAD.test(state)) return "bad";
  if (WARN.test(state)) return "warn";
  if (isMoving(state)) return "busy";
  return "calm";
}
/** Whether a state is on its way to another. */
export const isMoving = (state: unknown) => typeof state === "string" && /(ing|Maintenance)$/.test(state) && !/^(Running|Maintenance|Existing|Pending)$/i.test(state);

export function Mark({ tone, children, title }: { tone: Tone; children: React.ReactNode; title?: string }) {
  return (
    <span className="mark" data-tone={tone} title={title} style={{ background: `var(--mold-${tone}-ground)`, color: `var(--mold-${tone})` }}>
      {children}
    </span>
  );
}

/** A state in words, with a colour and a shape. */
export function State({ value }: { value: string }) {
  const w = useWords();
  return <Mark tone={toneOf(value)}>{w.state(value)}</Mark>;
}
