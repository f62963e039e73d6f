import "./styles";
import "@mantine/notifications/styles.css";
import "./app.css";
import { Center, Loader, MantineProvider, localStorageColorSchemeManager } from "@mantine/core";
import { Notifications } from "@mantine/notifications";
import { QueryClientProvider } from "@tanstack/react-query";
import { RouterProvider } from "@tanstack/react-router";
import { Component, StrictMode, useEffect, useState, type ReactNode } from "react";
import { createRoot } from "react-dom/client";
import { learn, useLearned } from "./api/model";
import { queries } from "./api/queries";
import { useSession } from "./api/session";
import { FaultNote } from "./parts/FaultNote";
import { Broken } from "./pages/NotFound";
import { router } from "./router";
import { SignInAgain, SignInPage } from "./shell/SignIn";
import { theme, variables } from "./theme";
import { begin } from "./words";

/** Signed out: the sign-in page, and the address stays for afterwards. Signed in: the shell, once the model is there. */
function App() {
  const session = useSession();
  const learned = useLearned();
  const [fault, setFault] = useState<unknown>();
  const [tries, setTries] = useState(0);
  useEffect(() => {
    if (session && !learned) learn().then(() => setFault(undefined), setFault);
  }, [session, learned, tries]);
  if (!session) return <SignInPage />;
  return (
    <>
      {learned ? <RouterProvider router={router} /> : <Center mih="60dvh" p="md">{fault ? <FaultNote fault={fault} again={() => setTries((n) => n + 1)} /> : <Loader />}</Center>}
      <SignInAgain />
    </>
  );
}

class Boundary extends Component<{ children: ReactNode }, { error?: unknown }> {
  state: { error?: unknown } = {};
  static getDerivedStateFromError(error: unknown) {
    return { error };
  }
  render() {
    return this.state.error === undefined ? this.props.children : <Broken error={this.state.error} />;
  }
}

void begin().then(() =>
  createRoot(document.getElementById("root") as HTMLElement).render(
    <StrictMode>
      <MantineProvider theme={theme} cssVariablesResolver={variables} defaultColorScheme="auto" colorSchemeManager={localStorageColorSchemeManager({ key: "mold.theme" })}>
        <QueryClientProvider client={queries}>
          <Notifications position="bottom-right" limit={4} containerWidth={360} />
          <Boundary><App /></Boundary>
        </QueryClientProvider>
      </MantineProvider>
    </StrictMode>,
  ),
);
