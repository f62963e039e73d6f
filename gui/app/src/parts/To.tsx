// Links inside the console: they keep the scope and leave the rest of the search behind.

import { Link, useNavigate, type LinkProps } from "@tanstack/react-router";
import type { AnchorHTMLAttributes, Ref } from "react";

export const keepScope = (old: Record<string, unknown>) => ({ project: old.project, domain: old.domain, account: old.account }) as Record<string, string>;

type Props = Omit<AnchorHTMLAttributes<HTMLAnchorElement>, "href"> & { to: string; exact?: boolean; /** Further words of the search. */ find?: Record<string, string>; ref?: Ref<HTMLAnchorElement> };
export function To({ to, exact, find, ...rest }: Props) {
  return <Link {...(rest as LinkProps)} to={to as never} search={(find ? (old: Record<string, unknown>) => ({ ...keepScope(old), ...find }) : keepScope) as never} activeOptions={{ exact: exact ?? false, includeSearch: false }} />;
}

/** The address of a list, or of one of it. */
export const pageOf = ({ slug, id }: { slug: string; id?: string }) => `/${slug}${id === undefined ? "" : `/${encodeURIComponent(id)}`}`;

export function useGo(): (to: string, find?: Record<string, string>) => void {
  const navigate = useNavigate();
  return (to, find) => void navigate({ to: to as never, search: ((old: Record<string, unknown>) => ({ ...keepScope(old), ...find })) as never });
}
/** Change the search of this page; undefined takes a word out. */
export function useSearchWriter(): (change: Record<string, string | undefined>) => void {
  const navigate = useNavigate();
  return (change) => void navigate({ to: ".", search: ((old: Record<string, unknown>) => ({ ...old, ...change })) as never, replace: true, resetScroll: false });
}
