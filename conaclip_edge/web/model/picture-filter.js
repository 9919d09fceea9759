// Which of the site's pictures a search looks at: filters read as `conaclip-edge search` reads them.

const DAY_MS = 86_400_000;
const DATE = /^(\d{4})(?:-(\d{1,2})(?:-(\d{1,2}))?)?$/;
const NUMBER = /^[+-]?(?:\d+\.?\d*|\.\d+)$/;

/** Reads what a person asked for; returns what says of a picture's path and day of change whether it is looked at. */
export function pictureFilter({ folder = "", name = "", after = "", before = "" }) {
  const parts = folder.replaceAll("\\", "/").split("/").filter((part) => part && part !== ".");
  const start = parts.length ? `${parts.join("/")}/` : "";
  const pattern = name && matcher(name.toLowerCase());
  const [since, until] = [dayOf(after, "Changed since"), dayOf(before, "Changed before")];
  return (path, day) =>
    path.startsWith(start) &&
    (!pattern || pattern.test(path.split("/").pop().toLowerCase())) &&
    (since === null || day >= since) &&
    (until === null || day < until);
}

/** The cosine that a picture has to have at least. */
export function leastScore(text = "") {
  const number = text.replace(",", ".");
  if (number && !NUMBER.test(number)) throw new Error(`'${text}' in “Least score” is no number. Write it like 0.25.`);
  return number ? Number(number) : -Infinity;
}

/** Days from 1970 to the beginning of a day, a month or a year; null for no date. */
function dayOf(text, called) {
  if (!text) return null;
  const [year, month, day] = (DATE.exec(text)?.slice(1) ?? []).map((part) => Number(part ?? 1));
  const date = new Date(0);
  date.setUTCFullYear(year, month - 1, day);
  if (date.getUTCMonth() !== month - 1 || date.getUTCDate() !== day || !year) {
    throw new Error(`'${text}' in “${called}” is no date. Write 2024-07-01, 2024-07 or 2024.`);
  }
  return date.getTime() / DAY_MS;
}

/** A name is part of a file's name; with *, ? or [abc] it is a pattern for the whole of it. */
function matcher(name) {
  if (!/[*?[]/.test(name)) return new RegExp(literal(name), "u");
  const parts = name.match(/\*|\?|\[!?\]?[^\]]*\]|[^]/gu);
  const written = parts.map((part) => {
    if (part === "*") return ".*";
    if (part === "?") return ".";
    return part.length > 2 && part.startsWith("[") ? oneOf(part.slice(1, -1)) : literal(part);
  });
  return new RegExp(`^${written.join("")}$`, "su");
}

/** `a-cx` as in `[a-cx]`, `!a` as in `[!a]`; a range that runs backwards holds nothing. */
function oneOf(inside) {
  const not = inside.startsWith("!");
  const ranges = [...(not ? inside.slice(1) : inside).matchAll(/(.)-(.)|(.)/gsu)]
    .map(([, first, last, alone]) => [first ?? alone, last ?? alone])
    .filter(([first, last]) => first.codePointAt(0) <= last.codePointAt(0));
  if (!ranges.length) return not ? "." : "(?!)";
  return `[${not ? "^" : ""}${ranges.map((ends) => ends.map(coded).join("-")).join("")}]`;
}

const literal = (text) => [...text].map(coded).join("");
const coded = (character) => `\\u{${character.codePointAt(0).toString(16)}}`;
