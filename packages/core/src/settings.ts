/** Settings of the platform that travel in a session's metadata, because the public API has no field for them. */

/** Prefix of the metadata keys that are settings. */
export const settingPrefix = "manyhands.";

/** Metadata key that names the harness kind of a session. */
export const harnessSetting = "manyhands.harness";

/** The settings among a session's metadata. */
export function settingsOf(metadata: Readonly<Record<string, string>> | undefined): Record<string, string> {
  const pairs = Object.entries(metadata ?? {});
  return Object.fromEntries(pairs.filter(([key, value]) => key.startsWith(settingPrefix) && value !== ""));
}

/** The settings after a change of metadata; an empty value takes one away. */
export function changedSettings(
  settings: Readonly<Record<string, string>>,
  metadata: Readonly<Record<string, string>> | undefined,
): Readonly<Record<string, string>> {
  return metadata === undefined ? settings : settingsOf({ ...settings, ...metadata });
}
