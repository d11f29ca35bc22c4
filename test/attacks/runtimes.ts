/** Kinds of hands under attack. */
export const runtimes = ["runc", "runsc", "bubblewrap", "virtual"] as const;
/** One of them. */
export type RuntimeName = (typeof runtimes)[number];
