// Texts to ids as the bundle's Python does: cut to the context between the special tokens, always with an EOS.

import { Tokenizer } from "./vendor/tokenizers.min.mjs";

/** Returns a function text -> ids, 2..context of them. */
export function openTokenizer(json, context, eos) {
  const tokenizer = new Tokenizer(json, {});
  const special = tokenizer.encode("").ids;
  const behind = special.at(-1) === eos ? 1 : 0;
  const before = special.length - behind;
  return (text) => {
    const whole = text.toWellFormed();
    let ids = tokenizer.encode(whole).ids;
    if (ids.length > context) {
      const bare = tokenizer.encode(whole, { add_special_tokens: false }).ids;
      const room = context - before - behind;
      ids = [...ids.slice(0, before), ...bare.slice(0, room), ...ids.slice(ids.length - behind)];
    }
    if (ids.at(-1) !== eos) ids = [...ids.slice(0, context - 1), eos];
    return ids.length > 1 ? ids : [...ids, eos];
  };
}
