import { createRootRoute, createRoute, createRouter, lazyRouteComponent, type SearchSchemaInput } from "@tanstack/react-router";
import { Broken, NotFound } from "./pages/NotFound";
import { Shell } from "./shell/Shell";

type Search = Record<string, string | undefined> & SearchSchemaInput;
const root = createRootRoute({
  component: Shell,
  notFoundComponent: NotFound,
  errorComponent: ({ error, reset }) => <Broken error={error} reset={reset} />,
  validateSearch: (search: Search) => search as Record<string, string | undefined>,
});
const page = (path: string, load: () => Promise<{ default: React.ComponentType }>) =>
  createRoute({ getParentRoute: () => root, path, component: lazyRouteComponent(load), errorComponent: ({ error, reset }) => <Broken error={error} reset={reset} /> });

const home = page("/", () => import("./pages/Home"));
const list = page("/$slug", () => import("./pages/NounList"));
const detail = page("/$slug/$id", () => import("./pages/NounDetail"));
const others = [
  page("/asyncjobs/$id", () => import("./pages/Job")),
  page("/capacityplan", () => import("./pages/CapacityPlan")),
  page("/certificates", () => import("./pages/Certificates")),
  page("/configurations", () => import("./pages/Configurations")),
  page("/domains", () => import("./pages/Domains")),
  page("/infrastructure", () => import("./pages/Infrastructure")),
  page("/me", () => import("./pages/Me")),
  page("/networks-new", () => import("./pages/NetworkNew")),
  page("/resourcelimits", () => import("./pages/Limits")),
  page("/storagepools-new", () => import("./pages/StoragePoolNew")),
  page("/zones-new", () => import("./pages/ZoneSetup")),
  page("/nouns", () => import("./pages/Nouns")),
  page("/commands", () => import("./pages/Commands")),
  page("/commands/$name", () => import("./pages/Commands")),
  page("/templates-new", () => import("./pages/TemplateNew")),
  page("/topology", () => import("./pages/Topology")),
  page("/virtualmachines-new", () => import("./pages/Deploy")),
];

export const router = createRouter({
  routeTree: root.addChildren([home, ...others, list, detail]),
  basepath: "/client",
  scrollRestoration: true,
  defaultPreload: "intent",
  defaultPreloadDelay: 80,
  // Plain query strings: values are text, as people write them into links.
  parseSearch: (text) => Object.fromEntries(new URLSearchParams(text)),
  stringifySearch: (search) => {
    const pairs = Object.entries(search).filter(([, v]) => v !== undefined && v !== null && v !== "").map(([k, v]) => [k, String(v)]);
    return pairs.length ? `?${new URLSearchParams(pairs)}` : "";
  },
});

declare module "@tanstack/react-router" {
  interface Register { router: typeof router } // prettier-ignore
}
