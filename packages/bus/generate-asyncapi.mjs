/** Writes proto/asyncapi.yaml from the tables of this package. Run: node --conditions=source packages/bus/generate-asyncapi.mjs */
import { writeFileSync } from "node:fs";
import { stringify } from "yaml";
import { asyncApiDocument } from "./src/asyncapi.ts";

writeFileSync(new URL("../../proto/asyncapi.yaml", import.meta.url), stringify(asyncApiDocument(), { lineWidth: 120 }));
