import react from "@vitejs/plugin-react";
import { readFileSync } from "node:fs";
import { defineConfig, type Plugin } from "vite";
import { half, type Glossary } from "./src/words/names.ts";

// `npm run dev` serves the sources and passes the API on to a Mold that runs at MOLD_URL.
const server = process.env.MOLD_URL ?? "http://127.0.0.1:8080";
const pass = Object.fromEntries(["api", "events", "console", "upload"].map((p) => [`/client/${p}`, { target: server, ws: true }]));

// `words/ko.json?spoken` is all that the pages say in Korean: the sentences, and the Korean half of the glossary.
const spoken: Plugin = {
  name: "spoken",
  enforce: "pre",
  load(id) {
    const found = /^(.*\/words\/)(ko|en)\.json\?spoken$/.exec(id);
    if (!found) return;
    const [, folder, language] = found;
    const read = (name: string) => (this.addWatchFile(folder + name), JSON.parse(readFileSync(folder + name, "utf8")));
    const said = { sentences: read(`${language}.json`), glossary: half(read("glossary.json") as Glossary, language as "ko" | "en") };
    return { code: `export default ${JSON.stringify(said)}`, moduleType: "js" };
  },
};

export default defineConfig({
  root: import.meta.dirname,
  base: "/client/",
  plugins: [spoken, react()],
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
