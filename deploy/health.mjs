// Health check of an image: exit 0 when the service answers and does not say 5xx. MH_HEALTH_URL overrides what is asked.
const url = process.env.MH_HEALTH_URL ?? "http://127.0.0.1:9000/readyz";
try {
  const response = await fetch(url, { signal: AbortSignal.timeout(2_500) });
  process.exitCode = response.status < 500 ? 0 : 1;
} catch {
  process.exitCode = 1;
}
