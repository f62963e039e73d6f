// Links inside the console: they keep the scope and leave the rest of the search behind.

import { Link, useNavigate, type LinkProps } from "@tanstack/react-router";
import type { AnchorHTMLAttributes, Ref } from "react";

export const keepScope = (old: Record<string, unknown>) => ({ project: old.project, domain: old.domain, account: old.account }) as Record<string, string>;

/** A link may end in `?name=value`, which comes on top of the scope; so does what it is to find. */
function parted(to: string, find?: Record<string, string>) {
  const [path, query] = to.split("?", 2);
  const more = query || find ? { ...Object.fromEntries(new URLSearchParams(query)), ...find } : undefined;
  return { to: path as never, search: (more ? (old: Record<string, unknown>) => ({ ...keepScope(old), ...more }) : keepScope) as never };
}

type Props = Omit<AnchorHTMLAttributes<HTMLAnchorElement>, "href"> & { to: string; exact?: boolean; /** Further words of the search. */ find?: Record<string, string>; ref?: Ref<HTMLAnchorElement> };
export function To({ to, exact, find, ...rest }: Props) {
  return <Link {...(rest as LinkProps)} {...parted(to, find)} activeOptions={{ exact: exact ?? false, includeSearch: false }} />;
}

/** The address of a list, or of one of it. */
export const pageOf = ({ slug, id }: { slug: string; id?: string }) => `/${slug}${id === undefined ? "" : `/${encodeURIComponent(id)}`}`;

export function useGo(): (to: string, find?: Record<string, string>) => void {
  const navigate = useNavigate();
  return (to, find) => void navigate(parted(to, find));
}
/** Change the search of this page; undefined takes a word out. */
export function useSearchWriter(): (change: Record<string, string | undefined>) => void {
  const navigate = useNavigate();
  return (change) => void navigate({ to: ".", search: ((old: Record<string, unknown>) => ({ ...old, ...change })) as never, replace: true, resetScroll: false });
}
