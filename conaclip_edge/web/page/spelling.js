// Misspelt words: a word that the model does not know whole is taken for the nearest one that it does.

const SHORTEST = 5; // shorter words have too many neighbours

/** Returns a function that corrects a text by a list of known words, the more frequent first. */
export function speller(words) {
  const known = new Set(words);
  const byLength = Map.groupBy(words.filter((word) => word.length >= SHORTEST - 1), (word) => word.length);
  const found = new Map();
  const nearest = (word) => {
    if (!found.has(word)) found.set(word, search(word));
    return found.get(word);
  };
  function search(word) {
    const reach = word.length > 6 ? 2 : 1;
    let best = word, least = reach + 1;
    for (let length = word.length - reach; length <= word.length + reach; length++) {
      for (const candidate of byLength.get(length) ?? []) {
        if (candidate[0] !== word[0]) continue; // people get the first letter right
        const edits = distance(word, candidate, least);
        if (edits < least) [best, least] = [candidate, edits];
      }
    }
    return best;
  }
  const fixed = (word) => word.length < SHORTEST || known.has(word.toLowerCase());
  const inflected = (word) => known.has(word.toLowerCase().replace(/(es|s|ing|ed)$/, ""));
  return (text) =>
    text.replace(/(?<![\p{L}\p{N}'-])\p{L}+(?![\p{L}\p{N}'])/gu, (word) =>
      fixed(word) || inflected(word) ? word : nearest(word.toLowerCase()),
    );
}

/** Letters to insert, drop, change or swap; `limit` where there are as many or more. */
function distance(one, other, limit) {
  let before = [], row = Array.from({ length: other.length + 1 }, (_, place) => place);
  for (let i = 1; i <= one.length; i++) {
    const next = [i];
    for (let j = 1; j <= other.length; j++) {
      const same = one[i - 1] === other[j - 1];
      next[j] = Math.min(row[j] + 1, next[j - 1] + 1, row[j - 1] + (same ? 0 : 1));
      if (i > 1 && j > 1 && one[i - 1] === other[j - 2] && one[i - 2] === other[j - 1]) {
        next[j] = Math.min(next[j], before[j - 2] + 1);
      }
    }
    if (Math.min(...next) >= limit) return limit;
    [before, row] = [row, next];
  }
  return Math.min(row[other.length], limit);
}
