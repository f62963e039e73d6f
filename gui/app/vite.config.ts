import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

// `npm run dev` serves the sources and passes the API on to a Mold that runs at MOLD_URL.
const server = process.env.MOLD_URL ?? "http://127.0.0.1:8080";
const pass = Object.fromEntries(["api", "events", "console", "upload"].map((p) => [`/client/${p}`, { target: server, ws: true }]));

export default defineConfig({
  root: import.meta.dirname,
  base: "/client/",
  plugins: [react()],
  server: { proxy: pass },
  build: {
    outDir: process.env.MOLD_GUI_OUT ?? "../../mold/gui/static/app",
    emptyOutDir: true,
    manifest: true,
    target: "es2022",
    modulePreload: { polyfill: false },
    chunkSizeWarningLimit: 2000,
    assetsInlineLimit: 0, // the policy on content allows files of our own only
    reportCompressedSize: false,
  },
});
