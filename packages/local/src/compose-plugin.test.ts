import { expect, it } from "vitest";
import { isComposeRecentEnough } from "./compose-plugin.ts";

it("takes Docker Compose from 2.20 on, whatever a distribution appends", () => {
  for (const version of ["2.20.0", "2.40.3-3", "5.0.0"]) expect(isComposeRecentEnough(version), version).toBe(true);
  for (const version of ["1.29.2", "2.19.1", ""]) expect(isComposeRecentEnough(version), version).toBe(false);
});
