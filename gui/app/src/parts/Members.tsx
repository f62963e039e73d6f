// Who belongs to a project: accounts and users, their place in it, and invitations that are not answered yet.

import { ActionIcon, Button, Group, Loader, Menu, Paper, Stack, Text } from "@mantine/core";
import { IconDots, IconPlus } from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { call, rows, type Params, type Row } from "../api/client";
import { finish } from "../api/finish";
import { useModel } from "../api/model";
import { queries } from "../api/queries";
import { useWords } from "../words";
import { act } from "./act";
import { FaultNote } from "./FaultNote";
import { Related } from "./DetailPage";
import { Mark } from "./State";

export default function Members({ project }: { project: Row }) {
  const w = useWords();
  const model = useModel();
  const has = (c: string) => model.commands.has(c);
  const [fault, setFault] = useState<unknown>();
  const key = ["listProjectAccounts", project.id];
  const found = useQuery({ queryKey: key, enabled: has("listProjectAccounts"), queryFn: async ({ signal }) => rows(await call("listProjectAccounts", { projectid: project.id, page: 1, pagesize: 500 }, signal)).rows });
  const renew = () => void queries.invalidateQueries({ queryKey: ["listProjectAccounts"] });
  const invite = (command: string, first: string[]) => act({ command, fixed: { projectid: project.id }, first, onDone: (ran) => void ran.ended.then(renew) });
  async function change(command: string, params: Params, subject: string) {
    setFault(undefined);
    try {
      await finish(command, params, { subject, list: "listProjects" });
    } catch (no) {
      setFault(no);
    }
    renew();
  }
  const invitations = model.nouns.get("listProjectInvitations");
  return (
    <Stack maw={860}>
      <Group justify="flex-end" gap="xs">
        {has("addAccountToProject") && <Button size="sm" leftSection={<IconPlus size={16} aria-hidden />} onClick={() => invite("addAccountToProject", ["account", "email", "roletype"])}>{w.command("addAccountToProject")}</Button>}
        {has("addUserToProject") && <Button size="sm" variant="default" leftSection={<IconPlus size={16} aria-hidden />} onClick={() => invite("addUserToProject", ["username", "email", "roletype"])}>{w.command("addUserToProject")}</Button>}
      </Group>
      {fault !== undefined && <FaultNote fault={fault} />}
      {found.isError ? <FaultNote fault={found.error} again={() => void found.refetch()} /> : found.isPending ? <Loader size={20} /> : (
        <Paper role="list" aria-label={w.t("project.members")}>
          {found.data.map((m, i) => {
            const user = Boolean(m.userid);
            const name = user ? `${m.username} (${m.account})` : String(m.account);
            const admin = m.role === "Admin";
            const who: Params = user ? { userid: m.userid } : { account: m.account };
            return (
              <Group key={`${m.accountid}${m.userid ?? ""}`} role="listitem" justify="space-between" px="md" py={9} style={{ borderTop: i ? "1px solid light-dark(#eff1f3, #272d31)" : undefined }}>
                <div><Text size="sm" fw={560}>{name}</Text><Text size="xs" c="dimmed">{String(m.domainpath ?? m.domain ?? "")}</Text></div>
                <Group gap="xs">
                  <Mark tone={admin ? "good" : "calm"}>{w.t(admin ? "project.admin" : "project.regular")}</Mark>
                  {(has("updateProject") || has("deleteAccountFromProject")) && (
                    <Menu position="bottom-end">
                      <Menu.Target><ActionIcon variant="subtle" color="gray" aria-label={w.t("row.menu", { name })}><IconDots size={18} /></ActionIcon></Menu.Target>
                      <Menu.Dropdown>
                        {has("updateProject") && <Menu.Item onClick={() => void change("updateProject", { id: project.id, ...who, roletype: admin ? "Regular" : "Admin", swapowner: false }, name)}>{w.t(admin ? "project.make.regular" : "project.make.admin")}</Menu.Item>}
                        {has(user ? "deleteUserFromProject" : "deleteAccountFromProject") && <Menu.Item color="red" onClick={() => void change(user ? "deleteUserFromProject" : "deleteAccountFromProject", { projectid: project.id, ...who }, name)}>{w.t("project.send.away")}</Menu.Item>}
                      </Menu.Dropdown>
                    </Menu>
                  )}
                </Group>
              </Group>
            );
          })}
        </Paper>
      )}
      {invitations && <Related noun={invitations} params={{ projectid: project.id }} />}
    </Stack>
  );
}
