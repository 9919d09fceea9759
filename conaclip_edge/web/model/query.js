// What a person typed, as a vector: read as `conaclip-edge search` reads it.

import { normalised } from "./rows.js";

const MINUS = /(?:^|(?<=\s))-(?:"([^"]*)"|([^\s"-]\S*))/gu;

/** Splits `red bicycle -car -"traffic light"` into the text that is wanted and what to stay away from. */
export function parseQuery(text) {
  const minus = [...text.matchAll(MINUS)].map(([, phrase, word]) => (phrase || word || "").trim()).filter(Boolean);
  const wanted = text.replace(MINUS, " ").replaceAll('"', " ").split(/\s+/).filter(Boolean).join(" ");
  return { wanted, minus };
}

/** The unit vector of a query: the sum of its parts, less those of the words to stay away from. */
export function combine(parts, unwanted) {
  if (!parts.length) throw new Error("Only words to stay away from: add some to look for.");
  const total = new Float32Array(parts[0].length);
  for (const part of parts) part.forEach((value, at) => (total[at] += value));
  for (const part of unwanted) part.forEach((value, at) => (total[at] -= value));
  if (Math.hypot(...total) < 1e-3) throw new Error("The words to stay away from cancel the query.");
  return normalised(total);
}
