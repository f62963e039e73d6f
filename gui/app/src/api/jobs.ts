// Work that the cloud does for this user: what is under way, how far it is, how it ended. Told by the stream of events,
// and asked for while that is silent.

import { call, type Params, type Row, Fault } from "./client";
import { live } from "./live";
import { settle } from "./queries";
import { store } from "./store";

export interface Job {
  id: string;
  command: string;
  /** What it is done to, by name. */
  subject?: string;
  /** 0 under way, 1 done, 2 failed */
  status: 0 | 1 | 2;
  percent?: number;
  step?: string;
  steps?: Row[];
  error?: { code: number; text: string; key?: string; params?: Row };
  result?: Row;
  began: number;
  ended?: number;
  /** The list command of what it changes, and its id. */
  list?: string;
  target?: string;
  /** One of many that were begun together: by which name, and how many there are. */
  together?: { id: string; all: number };
}

export const jobs = store<Job[]>([]);
const KEEP = 200;
const watchers = new Map<string, (job: Job) => void>();

function change(id: string, facts: Partial<Job>): void {
  let after: Job | undefined;
  jobs.set((all) => all.map((job) => (job.id === id ? (after = { ...job, ...facts }) : job)));
  if (after && after.status !== 0) {
    watchers.get(id)?.(after);
    watchers.delete(id);
  }
}

async function ask(id: string): Promise<void> {
  const said = await call("queryAsyncJobResult", { jobid: id });
  const status = Number(said.jobstatus) as Job["status"];
  const result = said.jobresult as Row | undefined;
  change(id, {
    status,
    percent: said.jobprogress === undefined ? undefined : Number(said.jobprogress),
    steps: Array.isArray(said.jobsteps) ? said.jobsteps : undefined,
    step: Array.isArray(said.jobsteps) ? said.jobsteps.findLast((s: Row) => s.status !== "waiting")?.name : undefined,
    ...(status === 0 ? {} : { ended: Date.now(), result }),
    ...(status === 2 ? { error: { code: Number(result?.errorcode ?? 530), text: String(result?.errortext ?? ""), key: result?.errorkey, params: result?.errorparams } } : {}),
  });
  if (status !== 0) settle(jobs.get().find((j) => j.id === id)?.list);
}

/** Follow a job until it has ended; asks ever more seldom, and at once when the stream says that something happened. */
async function follow(id: string): Promise<void> {
  let pause = 700;
  while (jobs.get().find((j) => j.id === id)?.status === 0) {
    try {
      await ask(id);
    } catch (no) {
      if (no instanceof Fault && no.about.code === 431) return change(id, { status: 2, ended: Date.now(), error: { code: 431, text: no.why } });
    }
    await new Promise((go) => {
      const timer = setTimeout(go, live.on() ? Math.max(pause, 4000) : pause);
      wake.set(id, () => {
        clearTimeout(timer);
        go(null);
      });
    });
    pause = Math.min(pause * 1.4, 8000);
  }
}
const wake = new Map<string, () => void>();

/** What the stream says of a job. */
export function heard(told: Row): void {
  const job = jobs.get().find((j) => j.id === told.id);
  if (!job || job.status !== 0) return;
  if (Number(told.status) !== 0) wake.get(job.id)?.();
  else change(job.id, { percent: told.pct === undefined ? job.percent : Number(told.pct), step: told.step ?? job.step });
}

/** Watch a job of which somebody has the id. */
export function track(job: Pick<Job, "id" | "command" | "subject" | "list" | "target" | "together">): Promise<Job> {
  jobs.set((all) => [{ ...job, status: 0 as const, began: Date.now() }, ...all.filter((j) => j.id !== job.id)].slice(0, KEEP));
  const ended = new Promise<Job>((good) => watchers.set(job.id, good));
  void follow(job.id);
  return ended;
}

/** One of many that was refused at once and has no job: it is told with the others. */
export function refused(job: Pick<Job, "command" | "subject" | "target" | "together">, no: unknown): void {
  const now = Date.now();
  const error = no instanceof Fault ? { code: no.about.code, text: no.why, key: no.about.key, params: no.about.params } : { code: 530, text: String(no) };
  jobs.set((all) => [{ ...job, id: `${job.together?.id} ${job.target}`, status: 2 as const, began: now, ended: now, error }, ...all].slice(0, KEEP));
}

export interface Ran {
  answer: Row;
  /** The job that does it, when the command is one that takes time. */
  job?: string;
  /** Settles with the end of the job; at once without one. Never rejects. */
  ended: Promise<Job | undefined>;
}

/** Run a command that changes something, and follow its job. Rejects with the Fault of the command itself. */
export async function run(command: string, params: Params, about: Pick<Job, "subject" | "list" | "target" | "together"> = {}): Promise<Ran> {
  const answer = await call(command, params);
  const job = answer.jobid as string | undefined;
  if (!job) {
    settle(about.list);
    return { answer, ended: Promise.resolve(undefined) };
  }
  settle(about.list);
  return { answer, job, ended: track({ id: job, command, ...about, target: about.target ?? answer.id }) };
}
