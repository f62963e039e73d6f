// The same request as a line for the command line, curl and Python.

import type { Params } from "./client";

const shell = (text: string) => (/^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`);

export function lines(command: string, params: Params): { cli: string; curl: string; python: string } {
  const given = Object.entries(params).filter(([, v]) => v !== undefined && v !== null && v !== "").map(([k, v]) => [k, String(v)] as const);
  const [verb, rest] = [command.match(/^[a-z\d]+/)?.[0] ?? command, command.replace(/^[a-z\d]+/, "").toLowerCase()];
  const cli = ["mold", verb, rest, ...given.map(([k, v]) => shell(`${k}=${v}`))].filter(Boolean).join(" ");
  const curl = [
    `curl -b cookies.txt ${shell(`${location.origin}/client/api`)}`,
    ...[["command", command], ["response", "json"], ...given].map(([k, v]) => `  --data-urlencode ${shell(`${k}=${v}`)}`),
    '  --data-urlencode "sessionkey=$SESSIONKEY"',
  ].join(" \\\n");
  const python = [
    "from cs import CloudStack",
    "",
    `cloud = CloudStack(endpoint=${JSON.stringify(`${location.origin}/client/api`)}, key=KEY, secret=SECRET)`,
    `cloud.${command}(${given.map(([k, v]) => (/^[a-z_]\w*$/i.test(k) ? `${k}=${JSON.stringify(v)}` : `**{${JSON.stringify(k)}: ${JSON.stringify(v)}}`)).join(", ")})`,
  ].join("\n");
  return { cli, curl, python };
}
