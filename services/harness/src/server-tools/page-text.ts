/** The readable text of a fetched document. No parser of the web's whole grammar: what a model needs of a page. */

const dropped = /<(script|style|noscript|template|svg|head)\b[^>]*>[\s\S]*?<\/\1\s*>|<!--[\s\S]*?-->/gi;
const blockEnds =
  /<\/(p|div|section|article|header|footer|main|nav|tr|table|ul|ol|pre|blockquote|form|h[1-6])\s*>|<br\s*\/?>/gi;
const entities: Readonly<Record<string, string>> = { amp: "&", lt: "<", gt: ">", quot: '"', apos: "'", nbsp: " " };

/** Whether a content type is text that can be shown. */
export function isText(contentType: string): boolean {
  return /^(text\/|application\/(json|xml|xhtml\+xml|javascript|x-yaml|yaml)|application\/[\w.-]+\+(json|xml))/i.test(
    contentType,
  );
}

/** HTML as plain text with its title, headings, list items and link targets; other text as it is. */
export function pageText(body: string, contentType: string): string {
  if (!/html/i.test(contentType)) return body;
  const title = /<title\b[^>]*>([\s\S]*?)<\/title\s*>/i.exec(body)?.[1]?.trim() ?? "";
  const text = body
    .replace(dropped, " ")
    .replace(/<h([1-6])\b[^>]*>/gi, (_, level: string) => `\n\n${"#".repeat(Number(level))} `)
    .replace(/<li\b[^>]*>/gi, "\n- ")
    .replace(/<a\b[^>]*\bhref\s*=\s*["'](https?:[^"']+)["'][^>]*>([\s\S]*?)<\/a\s*>/gi, "$2 ($1)")
    .replace(blockEnds, "\n")
    .replace(/<[^>]*>/g, "");
  const tidy = decodeEntities(text)
    .replace(/[ \t\f\v\u00a0]+/g, " ")
    .replace(/ ?\n ?/g, "\n")
    .replace(/\n{3,}/g, "\n\n")
    .trim();
  return title === "" ? tidy : `${decodeEntities(title)}\n\n${tidy}`;
}

function decodeEntities(text: string): string {
  return text.replace(/&(#x?[0-9a-f]{1,6}|[a-z]{2,6});/gi, (whole, name: string) => {
    if (!name.startsWith("#")) return entities[name.toLowerCase()] ?? whole;
    const code =
      name[1]?.toLowerCase() === "x" ? Number.parseInt(name.slice(2), 16) : Number.parseInt(name.slice(1), 10);
    return code > 0 && code <= 0x10ffff ? String.fromCodePoint(code) : whole;
  });
}
