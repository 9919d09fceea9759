// Holds this browser against the bundle's golden vectors and times both towers in it.

const WARMUP = 5, ROUNDS = 60;

/** Returns how far ids, pixels and embeddings are from the golden ones, and encode times in milliseconds. */
export async function check(towers, site, threads) {
  const golden = await (await fetch("./golden/golden.json")).json();
  const tensors = readTensors(await (await fetch("./golden/golden.safetensors")).arrayBuffer());
  const texts = [], pictures = [];
  for (const [row, { text, ids }] of golden.texts.entries()) {
    const own = towers.ids(text);
    const cosine = dot(await towers.encodeText(text), tensors["text.embedding"](row));
    texts.push({ text, same: own.join() === ids.join(), cosine });
  }
  const blobs = [];
  for (const [row, name] of golden.pictures.entries()) {
    const blob = await (await fetch(`./golden/${name}`)).blob();
    blobs.push(blob);
    const pixels = await towers.pixels(blob), wanted = tensors["picture.pixels"](row);
    const levels = pixels.reduce((most, level, at) => Math.max(most, Math.abs(level - wanted[at])), 0);
    const cosine = dot(await towers.encodePixels(pixels), tensors["picture.embedding"](row));
    pictures.push({ name, levels, cosine });
  }
  const prepared = [];
  for (const blob of blobs) prepared.push(await towers.pixels(blob));
  const captions = golden.texts.map(({ text }) => text).filter((text) => text.trim()).slice(0, 3);
  const least = golden.min_cosine.int8, ofPictures = (golden.picture_min_cosine ?? golden.min_cosine).int8;
  const levels = Math.round(golden.pixel_tolerance * 255);
  return {
    bundle: site.digest,
    agent: navigator.userAgent,
    isolated: self.crossOriginIsolated,
    threads,
    texts,
    pictures,
    min_cosine: least,
    picture_min_cosine: ofPictures,
    pixel_levels: levels,
    passed:
      texts.every(({ same, cosine }) => same && cosine >= least) &&
      pictures.every((picture) => picture.levels <= levels && picture.cosine >= ofPictures),
    times: {
      text: await times(captions, (text) => towers.encodeText(text)),
      image: await times(prepared, (pixels) => towers.encodePixels(pixels)),
      picture: await times(blobs, (blob) => towers.encodePicture(blob)),
    },
  };
}

/** Times calls in milliseconds; inputs take turns, each the same number of times. */
async function times(inputs, call) {
  const found = [];
  const rounds = Math.ceil(ROUNDS / inputs.length) * inputs.length;
  for (let round = -WARMUP; round < rounds; round++) {
    const before = performance.now();
    await call(inputs[(round + WARMUP * inputs.length) % inputs.length]);
    if (round >= 0) found.push(performance.now() - before);
  }
  return { inputs: inputs.length, warmup: WARMUP, ms: found };
}

/** Reads a safetensors file: name -> function that gives a row. */
function readTensors(buffer) {
  const start = 8 + Number(new DataView(buffer).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 8, start - 8)));
  const kinds = { F32: Float32Array, U8: Uint8Array };
  const found = {};
  for (const [name, { dtype, shape, data_offsets: [from, to] }] of Object.entries(header)) {
    if (name === "__metadata__") continue;
    const values = new kinds[dtype](buffer.slice(start + from, start + to));
    const width = shape.slice(1).reduce((one, other) => one * other, 1);
    found[name] = (row) => values.subarray(row * width, (row + 1) * width);
  }
  return found;
}

function dot(one, other) {
  return one.reduce((sum, value, at) => sum + value * other[at], 0);
}
