import { Button, Group, Paper, Stack, Title } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useEffect } from "react";
import { one } from "../api/client";
import { useModel } from "../api/model";
import { useSession } from "../api/session";
import { act } from "../parts/act";
import { FaultNote } from "../parts/FaultNote";
import { OwnSecondFactor } from "../parts/SecondFactor";
import UserKeys from "../parts/UserKeys";
import { Value } from "../parts/Value";
import { LanguageButton, ThemeButton } from "../shell/Switches";
import { useWords } from "../words";

const FIELDS = ["username", "firstname", "lastname", "email", "account", "domain", "rolename", "timezone", "created"];

export default function Me() {
  const w = useWords();
  const me = useSession();
  const model = useModel();
  useEffect(() => void (document.title = `${w.t("me")} · Mold`), [w]);
  const found = useQuery({ queryKey: ["listUsers", "one", me?.userid], queryFn: () => one("listUsers", me?.userid ?? "") });
  const noun = model.nouns.get("listUsers");
  const row = { ...me, ...found.data, id: me?.userid };
  const may = (command: string) => model.commands.has(command);
  return (
    <Stack gap="lg" maw={760}>
      <Title order={1} fz={26}>{w.t("me")}</Title>
      {found.isError && <FaultNote fault={found.error} />}
      <Paper p="lg">
        <dl className="facts">{FIELDS.filter((f) => f in row).map((f) => <div key={f}><dt>{w.field(f)}</dt><dd><Value field={f} row={row} /></dd></div>)}</dl>
        {may("updateUser") && (
          <Group mt="lg">
            <Button variant="default" onClick={() => act({ command: "updateUser", noun, rows: [row], first: ["firstname", "lastname", "email", "timezone"], without: ["password", "currentpassword"] })}>{w.t("me.edit")}</Button>
            <Button variant="default" onClick={() => act({ command: "updateUser", noun, rows: [{ id: row.id, name: row.username }], first: ["currentpassword", "password"], without: (model.commands.get("updateUser")?.params ?? []).map((p) => p.name).filter((n) => !/^(id|password|currentpassword)$/.test(n)) })}>{w.t("me.password")}</Button>
          </Group>
        )}
      </Paper>
      {may("setupUserTwoFactorAuthentication") && found.data && <Paper p="lg"><Title order={2} fz={16} mb="sm">{w.t("factor")}</Title><OwnSecondFactor row={row} /></Paper>}
      {may("registerUserKeys") && (
        <Stack gap="xs">
          <Title order={2} fz={16}>{w.t("me.keys")}</Title>
          <UserKeys user={row} />
        </Stack>
      )}
      <Paper p="lg"><Title order={2} fz={16} mb="sm">{w.t("me.look")}</Title><Group><LanguageButton /><ThemeButton /></Group></Paper>
    </Stack>
  );
}
