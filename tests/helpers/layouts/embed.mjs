// Embeds texts and pictures with transformers.js and a folder, and nothing of ours; prints JSON.
// node embed.mjs FOLDER < {"texts": [...], "pictures": [paths]}
import { readFileSync } from "node:fs";
import { basename, dirname, resolve } from "node:path";
import {
  AutoProcessor, AutoTokenizer, CLIPTextModelWithProjection, CLIPVisionModelWithProjection, env, load_image,
} from "@huggingface/transformers";

const folder = resolve(process.argv[2]);
env.allowRemoteModels = false;
env.localModelPath = dirname(folder);
const name = basename(folder), options = { dtype: "q8" };
const { texts, pictures } = JSON.parse(readFileSync(0, "utf8"));

const tokenizer = await AutoTokenizer.from_pretrained(name);
const textModel = await CLIPTextModelWithProjection.from_pretrained(name, options);
const ids = [], textEmbeddings = [];
for (const text of texts) {
  const inputs = tokenizer(text, { padding: true, truncation: true });
  ids.push(Array.from(inputs.input_ids.data, Number));
  textEmbeddings.push(Array.from((await textModel(inputs)).text_embeds.data));
}
const together = await textModel(tokenizer(texts, { padding: true, truncation: true }));

const processor = await AutoProcessor.from_pretrained(name);
const visionModel = await CLIPVisionModelWithProjection.from_pretrained(name, options);
const images = [];
for (const path of pictures) images.push(await load_image(path));
const inputs = await processor(images), { image_embeds } = await visionModel(inputs);
console.log(JSON.stringify({
  ids, texts: textEmbeddings, batch: together.text_embeds.tolist(), pictures: image_embeds.tolist(),
  pixels: inputs.pixel_values.tolist(),
}));
