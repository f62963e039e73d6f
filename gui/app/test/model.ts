// The whole model as a root admin gets it, written by the test that runs these (tests/gui/test_app.py).

import { readFileSync } from "node:fs";
import { modelOf, type Command } from "../src/api/model";

const file = process.env.MOLD_MODEL;
if (!file) throw new Error("MOLD_MODEL names no file: run these tests with pytest tests/gui");
export const model = modelOf(JSON.parse(readFileSync(file, "utf8")) as Command[]);
