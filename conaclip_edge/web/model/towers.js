// The bundle's two towers in onnxruntime-web, loaded when they are first needed.

import * as ort from "./vendor/ort.wasm.bundle.min.mjs";

import { decode, pixelValues, requireKnown, resized } from "./preprocess.js";
import { openTokenizer } from "./tokenize.js";

ort.env.wasm.wasmPaths = { wasm: new URL("./vendor/ort-wasm-simd-threaded.wasm", import.meta.url).href };
ort.env.logLevel = "error";

/** Opens tokenizer and text tower; the image tower waits for the first picture. */
export async function openTowers(site, tokenizerJson, preprocess, threads) {
  requireKnown(preprocess);
  ort.env.wasm.numThreads = threads;
  const load = (tower) => ort.InferenceSession.create(`./model/${tower}.int8.onnx`, { executionProviders: ["wasm"] });
  const ids = openTokenizer(tokenizerJson, site.context, site.eos_id);
  const text = await load("text");
  let image = null;
  const run = async (session, tensor) => {
    const found = await session.run({ [session.inputNames[0]]: tensor });
    return found[session.outputNames[0]].data;
  };
  const towers = {
    ids,
    preloadImage: () => (image ??= load("image")),
    encodeIds: (row) => run(text, new ort.Tensor("int32", Int32Array.from(row), [1, row.length])),
    encodeText: (words) => towers.encodeIds(ids(words)),
    pixels: async (blob) => resized(await decode(blob, site.max_pixels), preprocess),
    encodePixels: async (pixels) => {
      const tensor = new ort.Tensor("float32", pixelValues(pixels), [1, 3, preprocess.size, preprocess.size]);
      return run(await towers.preloadImage(), tensor);
    },
    encodePicture: async (blob) => towers.encodePixels(await towers.pixels(blob)),
  };
  return towers;
}
