// The first page: how the cloud is for those who run it, what one has for everybody else.

import { Stack, Title } from "@mantine/core";
import { lazy, Suspense, useEffect } from "react";
import { useModel } from "../api/model";
import { useSession } from "../api/session";
import { useWords } from "../words";

const AdminHome = lazy(() => import("./AdminHome"));
const HomeTenant = lazy(() => import("./HomeTenant"));

export default function Home() {
  const w = useWords();
  const model = useModel();
  const me = useSession();
  useEffect(() => void (document.title = `${w.t("nav.home")} · Mold`), [w]);
  return (
    <Stack gap="xl">
      <Title order={1} fz={26}>{w.t("home.hello", { name: me?.firstname || me?.username || "" })}</Title>
      <Suspense>{model.commands.has("listHosts") ? <AdminHome /> : <HomeTenant />}</Suspense>
    </Stack>
  );
}
