import type { Hand } from "../driver.ts";

const MAX_BYTES = 64 * 1024;
const PROBE = [
  "cat /proc/self/status",
  "echo Net: $(tail -n +3 /proc/net/dev | cut -d: -f1)",
  "(: > /usr/manyhands-probe) 2>/dev/null && echo Writable: usr",
  "(: > /manyhands-probe) 2>/dev/null && echo Writable: root",
  "(: > /dev/manyhands-probe) 2>/dev/null && echo Writable: dev",
  "test -e /root -o -e /home/root -o -e /var -o -e /etc/shadow && echo Visible: the machine",
  "cat /proc/1/environ /proc/1/mem > /dev/null 2>&1 && echo Readable: the agent",
  "grep -q ^hand: /etc/passwd || echo Missing: /etc/passwd",
  "echo Processes: $(ls /proc | grep -c '^[0-9]')",
  "true",
].join("\n");

/**
 * Looks from inside a hand whether what was asked for is what is there: a bwrap or a kernel that leaves something out
 * makes a weaker hand without saying so. Returns what is wrong, in words.
 */
export async function checkPolicy(hand: Hand, ownNumbers: boolean): Promise<readonly string[]> {
  const started = await hand.start({
    id: "manyhands-policy",
    inputHash: new Uint8Array(32),
    timeoutMs: 10_000,
    action: { kind: "exec", argv: ["/bin/sh", "-c", PROBE], cwd: "/" },
  });
  let text = "";
  for await (const part of started.parts) {
    if (part.type === "output") text = (text + Buffer.from(part.bytes).toString("utf8")).slice(0, MAX_BYTES);
    else if (part.state.exitCode !== 0) return [`its shell does not work (${text.slice(0, 200)})`];
  }
  const rules: readonly [string, RegExp][] = [
    ["a tool has capabilities", /^CapEff:\s0+$/m],
    ["a tool could gain capabilities", /^NoNewPrivs:\s1$/m],
    ["system calls are not filtered", /^Seccomp:\s2$/m],
    ["it has another network than its own loopback", /^Net: lo$/m],
    ["the tool user is not the one asked for", /^Uid:\s65532\s/m],
    ["it sees processes that are not its own", /^Processes: [1-9]$/m],
  ];
  const broken = rules.filter(([, rule]) => !rule.test(text)).map(([words]) => words);
  for (const found of text.matchAll(/^(Writable|Visible|Readable|Missing): (.*)$/gm)) {
    if (found[1] === "Readable" && !ownNumbers) continue; // never seen; said to be weaker there all the same
    broken.push(`${String(found[1]).toLowerCase()}: ${found[2]}`);
  }
  return broken;
}
