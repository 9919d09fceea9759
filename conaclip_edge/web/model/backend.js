// The page's backend on a static site: a worker that runs the model in this browser.

const worker = new Worker("./engine.js", { type: "module" });
const waiting = new Map();
let last = 0;

worker.onmessage = ({ data: { id, result, error } }) => {
  const { resolve, reject } = waiting.get(id);
  waiting.delete(id);
  if (error === undefined) resolve(result);
  else reject(new Error(error));
};
worker.onerror = (event) => {
  const error = new Error(`The model could not be started in this browser${event.message ? `: ${event.message}` : ""}.`);
  for (const { reject } of waiting.values()) reject(error);
  waiting.clear();
};

function call(method, args = {}) {
  return new Promise((resolve, reject) => {
    waiting.set(++last, { resolve, reject });
    worker.postMessage({ id: last, method, args });
  });
}

export const where = "in this browser; no picture and no word leaves it";
export const open = (args) => call("open", args);
export const first = (only) => call("first", only);
export const search = (query) => call("search", query);
export const check = () => call("check");
