import { Code, Paper, Title } from "@mantine/core";
import { words } from "../words";
import { noun } from "./index";

/** Base64 of UTF-8 as text; what is no text stays as it is. */
function plain(data: string): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(Uint8Array.from(atob(data), (c) => c.charCodeAt(0)));
  } catch {
    return data;
  }
}

export default noun({
  list: "listUserData",
  columns: ["name", "params", "account", "created"],
  create: ["registerUserData"],
  first: { registerUserData: ["name", "userdata"] },
  without: { registerUserData: ["account", "domainid", "projectid"] },
  overview: [{ title: () => words().t("overview.about"), fields: ["name", "params", "account", "domain", "created"] }],
  above: (row) => (row.userdata ? (
    <Paper p="lg">
      <Title order={2} fz={16} mb="md">{words().t("userdata.text")}</Title>
      <Code block tabIndex={0} mah={420} style={{ overflow: "auto" }}>{plain(String(row.userdata))}</Code>
    </Paper>
  ) : null),
});
