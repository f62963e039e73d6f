import { Fault, type Params, type Row } from "./client";
import { run } from "./jobs";

/** Run a command and wait for the end of its work; the answer of the job, or of the command. Rejects with a Fault. */
export async function finish(command: string, params: Params, about: { subject?: string; list?: string; target?: string } = {}): Promise<Row> {
  const ran = await run(command, params, about);
  const job = await ran.ended;
  if (job?.status === 2) throw new Fault(job.error?.text ?? "", { code: job.error?.code ?? 530, key: job.error?.key, params: job.error?.params, command, job: job.id });
  return job?.result ?? ran.answer;
}
