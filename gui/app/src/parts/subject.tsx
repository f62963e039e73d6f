// What an event, a job or an alert is about, as a link to it.

import { useModel } from "../api/model";
import { pageOf, To } from "./To";

const ALIAS: Record<string, string> = { vm: "virtualmachine", instance: "virtualmachine", domainrouter: "router", storagepool: "storagepool", publicip: "publicipaddress", ipaddress: "publicipaddress", diskoffering: "diskoffering" };

/** `type` as the server says it: VirtualMachine, Host, StoragePool. */
export function Subject({ type, id, name }: { type: unknown; id: unknown; name: unknown }) {
  const model = useModel();
  const kind = String(type ?? "").toLowerCase().replace(/[\s_]/g, "");
  const wanted = ALIAS[kind] ?? kind;
  const noun = id ? [...model.nouns.values()].find((n) => n.name.replace(/ies$/, "y").replace(/s$/, "").toLowerCase() === wanted) : undefined;
  const text = String(name || id || "–");
  return noun ? <To className="plain" to={pageOf({ slug: noun.slug, id: String(id) })}>{text}</To> : <>{text}</>;
}
