import { words } from "../words";
import { noun } from "./index";

export default noun({
  list: "listUserKeys",
  columns: ["name", "state", "accountname", "apikey", "description", "startdate", "enddate", "created"],
  facets: ["state", "accountname"],
  bulk: ["deleteUserKeys"],
  param: { deleteUserKeys: "keypairid" },
  overview: [{ title: () => words().t("overview.about"), fields: ["state", "description", "apikey", "accountname", "domainpath", "rolename", "startdate", "enddate", "created"] }],
});
