/** Credentials that are made to be found: one of every kind, and every spelling in which one could turn up. */
import { randomBytes } from "node:crypto";

/** One planted credential. */
export type Canary = { readonly kind: string; readonly value: string };

/** A canary that nothing else on this machine can contain by chance. */
export function canary(kind: string): Canary {
  return { kind, value: `canary-${kind}-${randomBytes(20).toString("hex")}` };
}

/** A spelling to look for and whose it is. */
export type Needle = { readonly kind: string; readonly spelling: string; readonly bytes: Buffer };

/** As it is, as UTF-16 (how a heap may hold it), in hex, percent-encoded, and in base64 at each of its three offsets. */
export function needlesOf(canaries: readonly Canary[]): Needle[] {
  return canaries.flatMap(({ kind, value }) => {
    const raw = Buffer.from(value);
    const spellings: [string, Buffer][] = [
      ["plain", raw],
      ["utf16", Buffer.from(value, "utf16le")],
      ["hex", Buffer.from(raw.toString("hex"))],
    ];
    for (const offset of [0, 1, 2]) {
      const padded = Buffer.concat([Buffer.alloc(offset), raw]);
      const whole = padded.subarray(0, padded.length - (padded.length % 3)).toString("base64");
      spellings.push([`base64+${offset}`, Buffer.from(whole.slice(offset === 0 ? 0 : 4))]);
    }
    return spellings.map(([spelling, bytes]) => ({ kind, spelling, bytes }));
  });
}

/** One find; the value itself is never repeated. */
export type Hit = {
  readonly place: string;
  readonly canary: string;
  readonly spelling: string;
  readonly where: string;
};

/** What was looked through and what was found there. */
export type Swept = { readonly place: string; bytes: number; readonly hits: Hit[] };

/** Looks through places, however they come in pieces. */
export class Sweeper {
  readonly places = new Map<string, Swept>();
  private readonly needles: readonly Needle[];
  private readonly overlap: number;

  constructor(canaries: readonly Canary[]) {
    this.needles = needlesOf(canaries);
    this.overlap = Math.max(0, ...this.needles.map(({ bytes }) => bytes.length - 1));
  }

  /** One whole piece. `where` tells people which file, process or message. */
  look(place: string, where: string, bytes: Buffer | string): void {
    const swept = this.placeOf(place);
    const buffer = typeof bytes === "string" ? Buffer.from(bytes) : bytes;
    swept.bytes += buffer.length;
    for (const { kind, spelling, bytes: needle } of this.needles) {
      if (buffer.includes(needle)) this.hit(swept, { place, canary: kind, spelling, where });
    }
  }

  /** Pieces that follow each other; what lies over a seam is found too. */
  async lookAll(place: string, where: string, pieces: AsyncIterable<Buffer> | Iterable<Buffer>): Promise<void> {
    let tail = Buffer.alloc(0);
    for await (const piece of pieces) {
      this.look(place, where, Buffer.concat([tail, piece]));
      this.placeOf(place).bytes -= tail.length;
      tail = Buffer.from(piece.subarray(Math.max(0, piece.length - this.overlap)));
    }
  }

  private placeOf(place: string): Swept {
    const known = this.places.get(place);
    if (known) return known;
    const swept: Swept = { place, bytes: 0, hits: [] };
    this.places.set(place, swept);
    return swept;
  }

  private hit(swept: Swept, hit: Hit): void {
    const same = swept.hits.some(({ canary: kind, where }) => kind === hit.canary && where === hit.where);
    if (!same && swept.hits.length < 100) swept.hits.push(hit);
  }
}
