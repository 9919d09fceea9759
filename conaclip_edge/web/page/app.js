// The search page: what is asked, what is shown. Where the answers come from is the backend's matter.

import { first, open, search, where } from "./backend.js";
import { filters, halfTyped, restoreFilters, watchFilters } from "./filters.js";
import { arrows, shortName, showHits } from "./results.js";

const PAUSE_MS = 120; // of typing, before a search starts
const HITS = 48;

const at = (id) => document.getElementById(id);
const query = { picture: null, like: null, exact: false };
let about = null, timer = 0, asked = 0;

start();

async function start() {
  at("where").textContent = `Runs ${where}.`;
  try {
    about = await open({});
  } catch (error) {
    return fail(error);
  } finally {
    document.documentElement.dataset.ready = "yes";
  }
  const many = about.count.toLocaleString("en");
  at("count").textContent = many;
  at("credit").textContent = about.credit;
  document.title = `Search ${many} pictures`;
  const address = new URLSearchParams(location.hash.slice(1));
  at("text").value ||= address.get("q") ?? "";
  restoreFilters(address);
  await ask();
}

/** Asks the backend for what the page holds now; an answer that was overtaken is dropped. */
async function ask() {
  if (!about) return;
  clearTimeout(timer);
  const number = ++asked;
  const typed = at("text").value.trim();
  const only = filters();
  const { min_score: _, ...places } = only; // without a query there are no scores
  const [filtered, placed] = [only, places].map((some) => Object.keys(some).length > 0);
  const kept = String(new URLSearchParams(typed ? { q: typed, ...only } : only));
  history.replaceState(null, "", kept ? `#${kept}` : location.pathname + location.search);
  showSpelling(typed, typed);
  document.body.classList.add("busy");
  try {
    if (!typed && !query.picture && query.like === null) {
      const some = placed ? await first(places) : about.sample;
      if (number === asked) idle(some, placed);
      return;
    }
    const found = await search({ ...query, text: typed, k: HITS, only });
    if (number !== asked) return;
    at("error").hidden = true;
    showHits(at("results"), found.hits, like);
    showSpelling(typed, found.searched ?? typed);
    at("empty").hidden = about.count > 0;
    at("notes").hidden = !found.notes?.length;
    at("notes").replaceChildren(...(found.notes ?? []).map(paragraph));
    at("status").textContent =
      `${found.hits.length} nearest of ${about.count.toLocaleString("en")}${filtered ? ", filtered" : ""} · ` +
      `encoded in ${milliseconds(found.encode_ms)} · searched in ${milliseconds(found.search_ms)}`;
  } catch (error) {
    if (number === asked) fail(error);
  } finally {
    if (number === asked) document.body.classList.remove("busy");
  }
}

/** Nothing is asked: some of the pictures that pass the filters, without scores. */
function idle(some, placed) {
  at("notes").hidden = true;
  at("error").hidden = true;
  at("empty").hidden = about.count > 0;
  showHits(at("results"), some, like);
  const many = about.count.toLocaleString("en");
  if (!about.count) at("status").textContent = "";
  else if (placed && !some.length) at("status").textContent = `None of ${many} pictures passes the filters.`;
  else {
    const which = placed ? `${some.length} that pass the filters` : some.length;
    at("status").textContent = `The first ${which} of ${many} pictures. Type what you look for.`;
  }
}

function fail(error) {
  document.body.classList.remove("busy");
  at("error").textContent = error.message;
  at("error").hidden = false;
  at("notes").hidden = true;
  at("results").replaceChildren();
  at("status").textContent = "";
}

function paragraph(text) {
  const found = document.createElement("p");
  found.textContent = text[0].toUpperCase() + text.slice(1);
  return found;
}

function showSpelling(typed, text) {
  at("spelling").hidden = typed === text;
  at("spelling-text").textContent = `Showing “${text}”.`;
  at("spelling-button").textContent = `Look for “${typed}” instead`;
}

function showPicture(name, address) {
  const old = at("chip-picture").firstElementChild;
  if (old?.src.startsWith("blob:")) URL.revokeObjectURL(old.src);
  at("chip").hidden = !address;
  at("chip-name").textContent = name;
  at("chip-picture").replaceChildren();
  if (!address) return;
  const image = new Image();
  image.alt = "";
  image.src = address;
  at("chip-picture").append(image);
}

function usePicture(file) {
  if (!file) return;
  const largest = about?.largest ?? Infinity;
  if (file.size > largest) {
    const megabytes = Math.floor(largest / 1024 / 1024);
    return fail(new Error(`${file.name} is larger than ${megabytes} MB. Choose a smaller picture.`));
  }
  Object.assign(query, { picture: file, like: null });
  showPicture(file.name || "pasted picture", URL.createObjectURL(file));
  ask();
}

function like(hit) {
  Object.assign(query, { picture: null, like: hit.key });
  at("text").value = "";
  showPicture(shortName(hit.name), hit.thumb);
  scrollTo({ top: 0 });
  at("text").focus();
  ask();
}

function clearPicture() {
  Object.assign(query, { picture: null, like: null });
  showPicture("", "");
  at("text").focus();
  ask();
}

function milliseconds(value) {
  return value < 0.1 ? "under 0.1 ms" : `${value.toFixed(value < 10 ? 1 : 0)} ms`;
}

function askSoon() {
  clearTimeout(timer);
  timer = setTimeout(() => halfTyped() || ask(), PAUSE_MS);
}

at("text").addEventListener("input", () => {
  query.exact = false;
  askSoon();
});
watchFilters(askSoon);
at("form").addEventListener("submit", (event) => {
  event.preventDefault();
  ask();
});
at("spelling-button").addEventListener("click", () => {
  query.exact = true;
  at("text").focus();
  ask();
});
at("chip-clear").addEventListener("click", clearPicture);
at("file").addEventListener("change", () => {
  usePicture(at("file").files[0]);
  at("file").value = "";
});
addEventListener("keydown", (event) => {
  const typing = document.activeElement?.matches("input:not([type=file])");
  if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey) {
    event.preventDefault();
    at("text").select();
  } else if (event.key === "Escape") {
    at("text").value = "";
    clearPicture();
  } else {
    arrows(event, at("text"), at("results"));
  }
});
addEventListener("paste", (event) => {
  const file = [...event.clipboardData.files].find((one) => one.type.startsWith("image/"));
  if (file) {
    event.preventDefault();
    usePicture(file);
  }
});
let inside = 0; // dragenter and dragleave come in pairs for every element on the way
addEventListener("dragenter", (event) => {
  if ([...event.dataTransfer.types].includes("Files")) at("drop").hidden = ++inside === 0;
});
addEventListener("dragleave", () => {
  inside = Math.max(0, inside - 1);
  at("drop").hidden = inside === 0;
});
addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", (event) => {
  event.preventDefault();
  inside = 0;
  at("drop").hidden = true;
  usePicture(event.dataTransfer.files[0]);
});
