// The page behind check.html; `?report` sends what it found to the server that the site is measured by.

import { check, open } from "./backend.js";

const at = (id) => document.getElementById(id);
const address = new URLSearchParams(location.search);
let found;
try {
  await open({ threads: Number(address.get("threads")) || undefined });
  found = await check();
  show(found);
} catch (error) {
  found = { error: error.message };
  at("status").textContent = "";
  at("error").textContent = error.message;
  at("error").hidden = false;
}
if (address.has("report")) await fetch("./report", { method: "POST", body: JSON.stringify(found) });

function show({ passed, texts, pictures, min_cosine, picture_min_cosine, times, threads }) {
  const least = (rows) => Math.min(...rows.map(({ cosine }) => cosine)).toFixed(4);
  const median = (values) => values.toSorted((one, other) => one - other)[Math.floor(values.length / 2)].toFixed(1);
  const figures = {
    "Texts with the right ids": `${texts.filter(({ same }) => same).length} of ${texts.length}`,
    "Texts, least cosine": `${least(texts)} (at least ${min_cosine})`,
    "Pictures, largest difference": `${Math.max(...pictures.map(({ levels }) => levels))} of 255 levels`,
    "Pictures, least cosine": `${least(pictures)} (at least ${picture_min_cosine})`,
    "A query, median": `${median(times.text.ms)} ms`,
    "A picture's pixels, median": `${median(times.image.ms)} ms`,
    "A picture with decoding, median": `${median(times.picture.ms)} ms`,
    Threads: String(threads),
  };
  at("status").textContent = passed ? "This browser gives what the model should give." : "This browser fails the check.";
  for (const [name, value] of Object.entries(figures)) {
    at("figures").append(element("dt", name), element("dd", value));
  }
}

function element(kind, text) {
  const made = document.createElement(kind);
  made.textContent = text;
  return made;
}
