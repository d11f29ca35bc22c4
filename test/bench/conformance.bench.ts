/** How many of the official client's operations are served, asked of a running platform by that very client. */
import { createDemoModel } from "@manyhands/demo-model";
import { startPlatform } from "@manyhands/local";
import { type Row, runProbes } from "../conformance/run-probes.ts";

/** What this bench answers: one JSON object of its own, since there is no time and no floor in it. */
export type ConformanceReport = {
  operations_served: number;
  operations_total: number;
  rows: Pick<Row, "op" | "method" | "path" | "status" | "note">[];
};

/** Runs the probes once; `rounds` has no meaning here. */
export default async function conformance(): Promise<ConformanceReport> {
  const model = await createDemoModel({ listen: "127.0.0.1:0" });
  try {
    const platform = await startPlatform({ handDriver: "virtual", model: { url: model.url, key: "conformance" } });
    try {
      const rows = await runProbes({ url: platform.devJson.gateway_url, key: platform.devJson.api_key });
      const served = rows.filter((row) => row.status === "served").length;
      return { operations_served: served, operations_total: rows.length, rows };
    } finally {
      await platform.stop();
    }
  } finally {
    await model.close();
  }
}
