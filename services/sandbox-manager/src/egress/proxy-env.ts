/** Port of the tunnel inside a hand: git's requests and everybody's proxy requests enter here. */
export const TUNNEL_PORT = 8079;

const PROXY = `http://127.0.0.1:${TUNNEL_PORT}`;
/** The hand's own servers are reached without the proxy. */
const DIRECT = "127.0.0.1,localhost,::1";

/**
 * How programs in a hand find the only way out. Nothing trusts them to: without the proxy there is no route at all.
 * Both spellings, because curl reads the small ones only (CVE-2016-5385) and others the large ones.
 */
export const PROXY_ENV: Readonly<Record<string, string>> = {
  http_proxy: PROXY,
  https_proxy: PROXY,
  no_proxy: DIRECT,
  HTTP_PROXY: PROXY,
  HTTPS_PROXY: PROXY,
  NO_PROXY: DIRECT,
};
