// From an encoded picture to the image tower's input: the algorithm of preprocess.json, as Pillow computes it.

const BITS = 22; // Pillow's fixed-point weights of 8-bit pictures
const MAX_ASPECT = 100;
const FILTERS = { bicubic: { support: 2, at: cubic }, bilinear: { support: 1, at: triangle } };

/** Refuses a preprocess.json that asks for another algorithm than the one below. */
export function requireKnown(preprocess) {
  const { schema, resize, crop } = preprocess;
  const known = schema === "conaclip-edge/preprocess/1" && resize.filter in FILTERS && resize.antialias;
  const sides = crop === null ? resize.width === preprocess.size && resize.height === preprocess.size : crop === "center";
  if (!known || !sides) throw new Error("preprocess.json asks for steps that this page does not know");
}

/** Decodes an image file: upright, laid over white, RGBA bytes. Throws what a person should read. */
export async function decode(blob, maxPixels) {
  let bitmap;
  try {
    const exact = { imageOrientation: "from-image", premultiplyAlpha: "none", colorSpaceConversion: "default" };
    bitmap = await createImageBitmap(blob, exact);
  } catch {
    throw new Error("This file is no picture that this browser can read.");
  }
  const { width, height } = bitmap;
  try {
    if (width * height > maxPixels) throw new Error(`${width} × ${height} pixels are too many (at most ${maxPixels}).`);
    if (Math.max(width, height) > MAX_ASPECT * Math.min(width, height)) {
      throw new Error(`${width} × ${height} pixels are a line, not a picture.`);
    }
    const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
    context.fillStyle = "#fff";
    context.fillRect(0, 0, width, height);
    context.drawImage(bitmap, 0, 0);
    return { data: context.getImageData(0, 0, width, height).data, width, height };
  } finally {
    bitmap.close();
  }
}

/** Resizes as preprocess.json says: RGBA picture to planar RGB bytes [3, size, size]. */
export function resized({ data, width, height }, { size, resize, crop }) {
  const scale = size / Math.min(width, height); // of the shorter side, whose centre is cut out
  const across = crop === null ? size : Math.max(size, roundHalfEven(width * scale));
  const down = crop === null ? size : Math.max(size, roundHalfEven(height * scale));
  const columns = weights(width, across, Math.floor((across - size) / 2), size, resize);
  const rows = weights(height, down, Math.floor((down - size) / 2), size, resize);
  const first = rows[0].start;
  const needed = rows[size - 1].start + rows[size - 1].values.length - first;
  const narrow = new Uint8ClampedArray(needed * size * 3);
  for (let y = 0; y < needed; y++) {
    for (let x = 0; x < size; x++) {
      const { start, values } = columns[x];
      let red = 1 << (BITS - 1), green = red, blue = red;
      for (let k = 0, at = ((y + first) * width + start) * 4; k < values.length; k++, at += 4) {
        red += data[at] * values[k];
        green += data[at + 1] * values[k];
        blue += data[at + 2] * values[k];
      }
      narrow.set([red >> BITS, green >> BITS, blue >> BITS], (y * size + x) * 3);
    }
  }
  const pixels = new Uint8ClampedArray(3 * size * size);
  for (let y = 0; y < size; y++) {
    const { start, values } = rows[y];
    for (let at = 0; at < size * 3; at++) {
      let sum = 1 << (BITS - 1);
      for (let k = 0; k < values.length; k++) sum += narrow[(start - first + k) * size * 3 + at] * values[k];
      pixels[(at % 3) * size * size + y * size + Math.floor(at / 3)] = sum >> BITS;
    }
  }
  return pixels;
}

/** The tower's input: float32 [3, size, size] in [0, 1]. */
export function pixelValues(pixels) {
  return Float32Array.from(pixels, (level) => level / 255);
}

/** For `count` outputs from `offset` on: the first input that counts and the fixed-point weights from there. */
function weights(from, to, offset, count, { filter, a }) {
  const { support: half, at } = FILTERS[filter];
  const scale = from / to, stretch = Math.max(scale, 1), support = half * stretch, shrink = 1 / stretch;
  return Array.from({ length: count }, (_, place) => {
    const centre = (offset + place + 0.5) * scale;
    const start = Math.max(0, Math.trunc(centre - support + 0.5));
    const end = Math.min(from, Math.trunc(centre + support + 0.5));
    const values = [];
    for (let x = start; x < end; x++) values.push(at((x - centre + 0.5) * shrink, a));
    const sum = values.reduce((one, other) => one + other, 0);
    const fixed = values.map((value) => Math.trunc((value / sum) * 2 ** BITS + (value < 0 ? -0.5 : 0.5)));
    return { start, values: Int32Array.from(fixed) };
  });
}

function cubic(value, a) {
  const x = Math.abs(value);
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
}

function triangle(value) {
  return Math.max(0, 1 - Math.abs(value));
}

function roundHalfEven(value) {
  const below = Math.floor(value);
  if (value - below !== 0.5) return Math.round(value);
  return below % 2 ? below + 1 : below;
}
