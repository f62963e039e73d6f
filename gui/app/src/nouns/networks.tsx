import { Button } from "@mantine/core";
import { IconSitemap } from "@tabler/icons-react";
import { To } from "../parts/To";
import { isPlain } from "../api/session";
import { words } from "../words";
import { noun } from "./index";

export default noun({
  list: "listNetworks",
  get columns() {
    return ["name", "state", "type", "cidr", { field: "networkofferingname", wide: 1.6 }, "zonename", ...(isPlain() ? [] : ["account"]), "created"];
  },
  facets: ["state", "type", "zonename"],
  primary: ["restartNetwork", "updateNetwork"],
  create: ["createNetwork"],
  createPage: "/networks-new",
  first: { updateNetwork: ["name", "displaytext", "networkofferingid", "networkdomain", "dns1", "dns2"], restartNetwork: ["cleanup"], createNetwork: ["name", "networkofferingid", "gateway", "netmask"] },
  ready: { restartNetwork: (row) => row.state === "Implemented" || words().t("network.needs.running") },
  buttons: (row) => <Button variant="light" leftSection={<IconSitemap size={17} aria-hidden />} renderRoot={(p) => <To {...p} to={`/topology?network=${encodeURIComponent(String(row.id))}`} />}>{words().t("topology.show.one")}</Button>,
  overview: [
    { title: () => words().t("overview.about"), fields: ["state", "type", "displaytext", "networkofferingname", "zonename", "restartrequired", "created", "account", "domain", "project"] },
    { title: () => words().t("network.addresses"), fields: ["cidr", "gateway", "netmask", "networkdomain", "dns1", "dns2", "vlan"] },
  ],
});
