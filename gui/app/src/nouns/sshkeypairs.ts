import { words } from "../words";
import { noun } from "./index";

const OWNER = ["account", "domainid", "projectid"];
export default noun({
  list: "listSSHKeyPairs",
  columns: ["name", { field: "fingerprint", wide: 2 }, "account", "created"],
  create: ["createSSHKeyPair", "registerSSHKeyPair"],
  first: { createSSHKeyPair: ["name"], registerSSHKeyPair: ["name", "publickey"] },
  without: { createSSHKeyPair: OWNER, registerSSHKeyPair: OWNER },
  overview: [{ title: () => words().t("overview.about"), fields: ["name", "fingerprint", "account", "domain", "created"] }],
});
