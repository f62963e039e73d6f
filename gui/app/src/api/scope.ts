// Whose things one looks at: all that the caller may see, one project, one domain or one account. It lies in the
// address as `project`, `domain` and `account`, so a link shows the same to others.

import { useSearch } from "@tanstack/react-router";
import type { Params } from "./client";
import type { Command } from "./model";

export interface Scope {
  project?: string;
  domain?: string;
  account?: string;
}
export const SCOPE = ["project", "domain", "account"] as const;

export function useScope(): Scope {
  const search = useSearch({ strict: false }) as Scope;
  return { project: search.project, domain: search.domain, account: search.account };
}

/** The parameters with which a command stays in the scope, as far as it has such parameters. */
export function scoped(command: Command, scope: Scope): Params {
  const has = (name: string) => command.params.some((p) => p.name === name && !p.refused);
  const out: Params = {};
  const lists = command.name.startsWith("list");
  if (scope.project && has("projectid")) out.projectid = scope.project;
  else if (scope.domain && has("domainid")) {
    out.domainid = scope.domain;
    if (scope.account && has("account")) out.account = scope.account;
    else if (lists && has("isrecursive")) out.isrecursive = true;
  }
  if (lists && has("listall") && !out.account) out.listall = true;
  return out;
}
