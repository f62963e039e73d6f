// Doing something to one thing or to many: `act(...)` opens the dialog, which is loaded when it is first wanted.

import { notifications } from "@mantine/notifications";
import type { Params, Row } from "../api/client";
import type { Job, Ran } from "../api/jobs";
import type { Noun } from "../api/model";
import { store } from "../api/store";
import { words } from "../words";
import { reveal } from "./once";

export interface Act {
  command: string;
  noun?: Noun;
  rows?: Row[];
  /** The parameter that carries the row's id; default `id`. */
  param?: string;
  fixed?: Params;
  first?: string[];
  without?: string[];
  onDone?: (ran: Ran) => void;
}

export const asked = store<(Act & { number: number }) | null>(null);
let number = 0;
let opener: HTMLElement | null = null;

/** What had the focus; of a menu that closes, the button that opened it. */
function focused(): HTMLElement | null {
  const at = document.activeElement as HTMLElement | null;
  const menu = at?.closest("[role=menu]");
  return menu ? document.querySelector<HTMLElement>(`[aria-controls="${menu.id}"]`) : at;
}
export function act(what: Act): void {
  opener = focused();
  asked.set({ ...what, number: ++number });
}

/** A dialog has gone: the focus goes back to what opened it, or to the page when that is no more. */
export function focusBack(): void {
  if (document.activeElement && document.activeElement !== document.body) return;
  (opener?.isConnected ? opener : document.getElementById("main"))?.focus({ preventScroll: true });
}

/** What cannot be undone and takes much with it wants its name typed. */
export const IRREVERSIBLE = /^(expunge|purge)|^(delete|remove)(Zone|Pod|Cluster|Host|StoragePool|ImageStore|Domain|Account|Project|User|Network|VPC|Volume|Snapshot|VMSnapshot|Backup|Template|Iso|KubernetesCluster|PhysicalNetwork|Role)$/;
export const DANGEROUS = /^(delete|destroy|expunge|remove|purge|release|revoke|stop|detach|disable|archive|reset|revert|restore|disassociate|unmanage)/;

/** Say something in a corner of the screen, and to screen readers. */
export const tell = (what: Parameters<typeof notifications.show>[0]) => notifications.show({ closeButtonProps: { "aria-label": words().t("close") }, ...what });

/** Tell the end of a job in a corner of the screen, and to screen readers. */
export function announce(job: Job): void {
  const w = words();
  const name = `${job.subject ? `${job.subject} · ` : ""}${w.command(job.command)}`;
  if (job.status === 2) tell({ color: "red", title: w.t("job.failed"), message: `${name}. ${w.language === "en" ? (job.error?.text ?? "") : (w.maybe(`fault.${job.error?.key ?? job.error?.code}`) ?? "")}`, autoClose: 10_000 });
  else tell({ color: "mold", title: w.t("job.done"), message: name, autoClose: 4000 });
}
/** Tell how it ends; a secret that it made is shown, once. */
export function follow(ran: Ran, subject?: string): void {
  reveal(ran.answer, subject);
  void ran.ended.then((job) => {
    if (!job) return;
    announce(job);
    if (job.status === 1) reveal(job.result, job.subject ?? subject);
  });
}
