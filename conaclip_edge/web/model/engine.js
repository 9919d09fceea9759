// The worker behind the page: tokenises, encodes and searches, so that typing never waits for it.

import { leastScore, pictureFilter } from "./picture-filter.js";
import { best, vectorOf } from "./rows.js";
import { openTowers } from "./towers.js";
import { combine, parseQuery } from "./query.js";
import { check } from "./check.js";

const SAMPLE = 60; // pictures that are shown before anything is asked
const WARMUP = 3;
const NOTHING = "nothing like it: the best of these is no nearer than what random words find.";
const UNREAD =
  "the model reads nothing of this query: its vocabulary has none of these characters. " +
  "Write it in a language that the model was trained on.";
const FILTERED = "no picture passes the filters.";
let towers, site, rows, threads, silent;

const methods = { open, first, search, check: () => check(towers, site, threads) };

onmessage = async ({ data: { id, method, args } }) => {
  try {
    postMessage({ id, result: await methods[method](args) });
  } catch (error) {
    postMessage({ id, error: error.message });
  }
};

async function open(wanted) {
  threads = wanted.threads ?? defaultThreads();
  const get = async (path, read) => {
    const answer = await fetch(path);
    if (!answer.ok) throw new Error(`${path} is missing on this site (${answer.status}).`);
    return answer[read]();
  };
  const json = (path) => get(path, "json");
  site = await json("./site.json");
  const [tokenizer, preprocess, values, scales] = await Promise.all([
    json("./model/tokenizer.json"),
    json("./model/preprocess.json"),
    get("./index/vectors.i8", "arrayBuffer"),
    get("./index/scales.f32", "arrayBuffer"),
  ]);
  rows = { values: new Int8Array(values), scales: new Float32Array(scales), dim: site.dim };
  towers = await openTowers(site, tokenizer, preprocess, threads);
  const vector = await towers.encodeText(""); // the first runs are slow
  for (let run = 0; run < WARMUP; run++) best(rows, vector, 1);
  return {
    name: site.name,
    count: site.pictures.length,
    credit: site.credit,
    sample: first({}),
  };
}

/** Some of the pictures that pass the filters, without scores. */
function first(only) {
  const takes = taken(only);
  const sample = [];
  for (let row = 0; row < site.pictures.length && sample.length < SAMPLE; row++) {
    if (takes(row)) sample.push(hit([row, null]));
  }
  return sample;
}

function taken(only) {
  const takes = pictureFilter(only);
  return (row) => takes(site.pictures[row], site.changed[row]);
}

/** Encodes and searches; `like` is an indexed row, `picture` a file, `only` what was typed into the filters. */
async function search({ text, picture, like, k, only = {} }) {
  const started = performance.now();
  const [takes, least] = [taken(only), leastScore(only.min_score)];
  const { wanted, minus } = parseQuery(text);
  const parts = [];
  const unread = wanted && !reads(wanted);
  if (unread && !picture && like === null) {
    return { hits: [], encode_ms: performance.now() - started, search_ms: 0, vector: [], notes: [UNREAD] };
  }
  if (wanted && !unread) parts.push(await towers.encodeText(wanted));
  if (picture) parts.push(await towers.encodePicture(picture));
  if (like !== null) parts.push(vectorOf(rows, like));
  const unwanted = [];
  for (const word of minus.filter(reads)) unwanted.push(await towers.encodeText(word));
  const vector = combine(parts, unwanted);
  const encoded = performance.now();
  const found = best(rows, vector, k, takes).filter(([, score]) => score >= least);
  const search_ms = performance.now() - encoded;
  const low = picture || like !== null ? null : cutOff(vector);
  const hits = found.map(([row, score]) => ({ ...hit([row, score]), low: low !== null && score < low }));
  const notes = hits[0]?.low ? [NOTHING] : [];
  if (!hits.length && Object.keys(only).length) notes.push(FILTERED);
  return { hits, encode_ms: encoded - started, search_ms, vector, notes };
}

/** Whether the model reads anything of a text; of one without letters and signs, as "?", it does. */
function reads(text) {
  if (!/[\p{L}\p{N}]|[^\x00-\x7f]/u.test(text)) return true;
  silent ??= new Set(site.silent_ids);
  return towers.ids(text).some((id) => !silent.has(id));
}

/** The cosine below which a picture is no nearer than what random words find; null where it was not measured. */
function cutOff(vector) {
  if (!site.cut_off) return null;
  const [margin, mean] = site.cut_off;
  return mean.reduce((sum, value, at) => sum + value * vector[at], margin);
}

function hit([row, score]) {
  const thumb = `./thumbs/${row}.webp`;
  return { key: row, name: site.pictures[row], score, thumb, full: thumb };
}

function defaultThreads() {
  return self.crossOriginIsolated ? Math.min(4, Math.ceil(navigator.hardwareConcurrency / 2)) : 1;
}
