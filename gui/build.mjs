// Puts the pages together in mold/gui/static: what is ours as it stands, noVNC's files unmodified, and their licences.
//
// noVNC is not bundled: browsers load its modules as they are, from a folder named after its version, which they may
// keep for ever. The whole is made beside and moved into place, so that a build that fails leaves the old one.

import { cpSync, mkdirSync, readFileSync, readdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const target = join(here, "..", "mold", "gui", "static", "console");
const draft = `${target}.draft`;
const novnc = join(here, "node_modules", "@novnc", "novnc");
const version = JSON.parse(readFileSync(join(novnc, "package.json"), "utf8")).version;

const folder = `./novnc-${version}/`;
if (!readFileSync(join(here, "console", "console.js"), "utf8").includes(`"${folder}core/rfb.js"`)) {
  throw new Error(`gui/console/console.js must import noVNC from ${folder}core/rfb.js, the version in package-lock.json.`);
}

rmSync(draft, { recursive: true, force: true });
mkdirSync(draft, { recursive: true });
cpSync(join(here, "console"), draft, { recursive: true });
cpSync(join(here, "words"), join(draft, "words"), { recursive: true });
for (const part of ["core", "vendor", "AUTHORS", "LICENSE.txt", "docs/LICENSE.MPL-2.0"]) {
  cpSync(join(novnc, part), join(draft, folder, part), { recursive: true });
}
writeFileSync(join(draft, "THIRD_PARTY.txt"), thirdParty());
rmSync(target, { recursive: true, force: true });
renameSync(draft, target);
console.log(`mold/gui/static/console: noVNC ${version} and ${readdirSync(join(here, "console")).length} files of ours`);

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
