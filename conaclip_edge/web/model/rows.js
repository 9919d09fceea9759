// The index in the page: int8 rows, a scale for each, and the k best by integer dot products.

/** Rounds a vector to int8 with one scale, as the rows of the index are. */
export function quantise(vector) {
  const most = vector.reduce((found, value) => Math.max(found, Math.abs(value)), 0) || 1;
  const scale = Math.fround(most / 127);
  return { values: Int8Array.from(vector, (value) => roundHalfEven(value / scale)), scale };
}

/** Returns the k best rows of those that are taken as [row, score], best first; equal scores in the order of rows. */
export function best({ values, scales, dim }, vector, k, takes = () => true) {
  const query = quantise(vector);
  const top = [];
  for (let row = 0; row < scales.length; row++) {
    if (!takes(row)) continue;
    let sum = 0;
    for (let at = row * dim, i = 0; i < dim; i++, at++) sum += values[at] * query.values[i];
    const score = sum * scales[row] * query.scale;
    if (top.length === k && score <= top[k - 1][1]) continue;
    let place = top.length;
    while (place > 0 && top[place - 1][1] < score) place--;
    top.splice(place, 0, [row, score]);
    if (top.length > k) top.pop();
  }
  return top;
}

/** Gives an index row back as a unit-length float vector. */
export function vectorOf({ values, dim }, row) {
  return normalised(Float32Array.from(values.subarray(row * dim, (row + 1) * dim)));
}

export function normalised(vector) {
  const length = Math.hypot(...vector) || 1;
  return vector.map((value) => value / length);
}

function roundHalfEven(value) {
  const rounded = Math.round(value);
  return rounded - value === 0.5 && rounded % 2 ? rounded - 1 : rounded;
}
