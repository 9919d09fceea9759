// Texts to ids as the bundle's Python does: cut to the context between the special tokens, always with an EOS; or
// padded to the context, where tokenizer.json says so.

import { Tokenizer } from "./vendor/tokenizers.min.mjs";

/** Returns a function text -> ids, 2..context of them; always `context` where texts are padded. */
export function openTokenizer(json, context, eos) {
  const tokenizer = new Tokenizer({ ...json, padding: null, truncation: null }, {});
  const special = tokenizer.encode("").ids;
  const behind = special.at(-1) === eos ? 1 : 0;
  const before = special.length - behind;
  const { padding } = json;
  const fixed = padding?.strategy?.Fixed === context;
  return (text) => {
    const whole = text.toWellFormed();
    let ids = tokenizer.encode(whole).ids;
    if (ids.length > context) {
      const bare = tokenizer.encode(whole, { add_special_tokens: false }).ids;
      const room = context - before - behind;
      ids = [...ids.slice(0, before), ...bare.slice(0, room), ...ids.slice(ids.length - behind)];
    }
    if (fixed) return [...ids, ...Array(context - ids.length).fill(padding.pad_id)];
    if (ids.at(-1) !== eos) ids = [...ids.slice(0, context - 1), eos];
    return ids.length > 1 ? ids : [...ids, eos];
  };
}
