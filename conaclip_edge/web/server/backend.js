// The page's backend on this computer: the server that conaclip-edge serve runs.

let running = null;

export const where = "on the computer that serves this page";

export const open = () => ask("./about", {});

/** Some of the pictures that pass the filters, without scores. */
export const first = async (only) => (await ask(`./about?${new URLSearchParams(filters(only))}`, {})).sample;

/** Encodes and searches; a search that is still under way is given up. */
export function search({ text, exact, picture, like, k, only = {} }) {
  running?.abort();
  running = new AbortController();
  const asked = new URLSearchParams({ text, k, ...filters(only) });
  if (exact) asked.set("exact", "1");
  if (picture?.name) asked.set("name", picture.name);
  if (like !== null) asked.set("like", like);
  return ask(`./search?${asked}`, { method: "POST", body: picture, signal: running.signal });
}

/** The filters as the server calls them: `name` is that of the picture which is sent. */
function filters({ name, ...others }) {
  return name ? { ...others, file: name } : others;
}

async function ask(address, options) {
  let answer;
  try {
    answer = await fetch(address, options);
  } catch {
    throw new Error("The server does not answer. Start it again: conaclip-edge serve.");
  }
  const found = await answer.json();
  if (!answer.ok) throw new Error(found.error);
  return found;
}
