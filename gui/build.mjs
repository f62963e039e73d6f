// Puts the pages together in mold/gui/static: the console's page as it stands with noVNC's files unmodified, the app
// as Vite builds it, the licences of both. Each is made beside and moved into place, so that a build that fails
// leaves the old one. A build whose first page or any later part is too large fails.

import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, readFileSync, readdirSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";

const FIRST_PAGE = 320 * 1024; // bytes, compressed
const PART = 90 * 1024;

const here = dirname(fileURLToPath(import.meta.url));
const statics = join(here, "..", "mold", "gui", "static");
const licences = thirdParty();

console_();
app();

function place(draft, target) {
  rmSync(target, { recursive: true, force: true });
  renameSync(draft, target);
}

function console_() {
  const target = join(statics, "console");
  const draft = `${target}.draft`;
  const novnc = join(here, "node_modules", "@novnc", "novnc");
  const version = JSON.parse(readFileSync(join(novnc, "package.json"), "utf8")).version;
  const folder = `./novnc-${version}/`;
  if (!readFileSync(join(here, "console", "console.js"), "utf8").includes(`"${folder}core/rfb.js"`)) {
    throw new Error(`gui/console/console.js must import noVNC from ${folder}core/rfb.js, the version in package-lock.json.`);
  }
  rmSync(draft, { recursive: true, force: true });
  mkdirSync(join(draft, "words"), { recursive: true });
  cpSync(join(here, "console"), draft, { recursive: true });
  for (const language of ["ko", "en"]) {
    const words = Object.entries(JSON.parse(readFileSync(join(here, "words", `${language}.json`), "utf8")));
    writeFileSync(join(draft, "words", `${language}.json`), JSON.stringify(Object.fromEntries(words.filter(([key]) => key.startsWith("console.")))));
  }
  for (const part of ["core", "vendor", "AUTHORS", "LICENSE.txt", "docs/LICENSE.MPL-2.0"]) {
    cpSync(join(novnc, part), join(draft, folder, part), { recursive: true });
  }
  writeFileSync(join(draft, "THIRD_PARTY.txt"), licences);
  place(draft, target);
  console.log(`mold/gui/static/console: noVNC ${version} and ${readdirSync(join(here, "console")).length} files of ours`);
}

function app() {
  const target = join(statics, "app");
  const draft = `${target}.draft`;
  const run = (...words) => execFileSync(process.execPath, words, { cwd: here, stdio: "inherit", env: { ...process.env, MOLD_GUI_OUT: draft } });
  run(join(here, "node_modules", "typescript", "bin", "tsc"), "--noEmit", "-p", "app");
  run(join(here, "node_modules", "vite", "bin", "vite.js"), "build", "app", "--logLevel", "warn");
  const sizes = new Map();
  for (const name of readdirSync(draft, { recursive: true }).map(String)) {
    const file = join(draft, name);
    if (!statSync(file).isFile() || !/\.(js|css|html|svg|json)$/.test(name)) continue;
    const small = gzipSync(readFileSync(file), { level: 9 });
    sizes.set(name, small.length);
    writeFileSync(`${file}.gz`, small);
  }
  const manifest = JSON.parse(readFileSync(join(draft, ".vite", "manifest.json"), "utf8"));
  const entry = Object.keys(manifest).find((key) => manifest[key].isEntry);
  const with_ = (keys, seen = new Set()) => {
    for (const key of keys) {
      if (!seen.has(key)) with_(manifest[seen.add(key) && key].imports ?? [], seen);
    }
    return seen;
  };
  const weigh = (keys) => {
    const files = new Set([...keys].flatMap((key) => [manifest[key].file, ...(manifest[key].css ?? [])]));
    return [...files].reduce((sum, file) => sum + (sizes.get(file) ?? 0), 0);
  };
  // What it takes to see a list after signing in: the entry, the words, and the page of a list.
  const base = with_([entry]);
  const words = Object.keys(manifest).filter((key) => /words\/ko\.json\?spoken$/.test(key));
  const list = Object.keys(manifest).filter((key) => /pages\/NounList/.test(key));
  const first = sizes.get("index.html") + weigh(with_([...base, ...words, ...list]));
  const parts = Object.keys(manifest).filter((key) => manifest[key].isDynamicEntry).map((key) => [key, weigh([...with_([key])].filter((k) => !base.has(k)))]).sort((a, b) => b[1] - a[1]);
  const report = { first, parts: Object.fromEntries(parts) };
  writeFileSync(join(draft, "sizes.json"), JSON.stringify(report, null, 1));
  writeFileSync(join(draft, "THIRD_PARTY.txt"), licences);
  rmSync(join(draft, ".vite"), { recursive: true });
  const kB = (bytes) => `${(bytes / 1024).toFixed(0)} kB`;
  if (first > FIRST_PAGE) throw new Error(`The first page is ${kB(first)} compressed; at most ${kB(FIRST_PAGE)} are allowed.`);
  const large = parts.filter(([, size]) => size > PART);
  if (large.length) throw new Error(`Too large: ${large.map(([key, size]) => `${key} ${kB(size)}`).join(", ")}; at most ${kB(PART)} compressed are allowed.`);
  place(draft, target);
  console.log(`mold/gui/static/app: first page ${kB(first)}, ${sizes.size} files, the largest part ${parts[0]?.[0]} ${kB(parts[0]?.[1] ?? 0)}`);
}

// What the lock names, with the licence texts that lie in the packages.
function thirdParty() {
  const lock = JSON.parse(readFileSync(join(here, "package-lock.json"), "utf8"));
  const parts = ["Mold's pages in a browser contain the following works of others, unmodified.\n"];
  for (const [place, entry] of Object.entries(lock.packages)) {
    if (!place || entry.dev) continue;
    const at = join(here, place);
    const about = JSON.parse(readFileSync(join(at, "package.json"), "utf8"));
    const source = typeof about.repository === "string" ? about.repository : (about.repository?.url ?? about.homepage);
    parts.push(`${"=".repeat(100)}\n${about.name} ${about.version}\nLicence: ${about.license}\nSource: ${source}\n`);
    for (const file of readdirSync(at, { recursive: true }).map(String).sort()) {
      if (/(^|\/)(LICEN[CS]E|NOTICE|AUTHORS)[^/]*$/i.test(file) && !file.includes("node_modules/")) {
        parts.push(`--- ${file}\n\n${readFileSync(join(at, file), "utf8").trim()}\n`);
      }
    }
  }
  return parts.join("\n");
}
