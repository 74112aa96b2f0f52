/** How long a call between services may take when the caller does not say. */
export const DEFAULT_DEADLINE_MS = 10_000;
