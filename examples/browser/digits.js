// From ink on a canvas to what the network saw in training: `kdl/data/digits.py` in JavaScript.

// The digits of the training set are 8×8: each number says how much of its cell is inked.
export const CELLS = 8;

/**
 * How much of each cell is inked.
 *
 * @param {ImageData} image Square, bright on black; its side is a multiple of 8.
 * @returns {Float64Array} 8×8 numbers from 0 to 1, row by row.
 */
export function inkOf(image) {
  const side = image.width / CELLS;
  const ink = new Float64Array(CELLS * CELLS);
  for (let y = 0; y < image.height; y++) {
    for (let x = 0; x < image.width; x++) {
      const cell = Math.floor(y / side) * CELLS + Math.floor(x / side);
      ink[cell] += image.data[4 * (y * image.width + x)]; // red; the strokes are gray
    }
  }
  return ink.map((sum) => sum / (255 * side * side));
}

/**
 * Enlarges 8×8 numbers bilinearly with half-pixel centers, as `kdl.data.digits(size)` does.
 *
 * Output pixel i reads the input at (i + 0.5) · 8 / size − 0.5, limited to 0 … 7.
 *
 * @returns {Float32Array} size×size numbers, row by row.
 */
export function enlarge(ink, size) {
  const place = Array.from({ length: size }, (_, i) => {
    const position = Math.min(Math.max(((i + 0.5) * CELLS) / size - 0.5, 0), CELLS - 1);
    const low = Math.min(Math.floor(position), CELLS - 2);
    return [low, position - low];
  });
  const large = new Float32Array(size * size);
  place.forEach(([top, down], y) => {
    place.forEach(([left, right], x) => {
      const row = (r) => {
        const start = (top + r) * CELLS + left;
        return ink[start] * (1 - right) + ink[start + 1] * right;
      };
      large[y * size + x] = row(0) * (1 - down) + row(1) * down;
    });
  });
  return large;
}

/**
 * A gray image as the input that the sidecar describes: the same gray in each channel, then
 * (x − mean) / std with x from 0 to 1, the channels last.
 *
 * @param {Float32Array} gray Numbers from 0 to 1.
 * @param {{mean: number[], std: number[]}} input Entry of the sidecar's `inputs`.
 * @returns {Float32Array}
 */
export function normalize(gray, { mean, std }) {
  const channels = mean.length;
  return Float32Array.from(
    { length: gray.length * channels },
    (_, i) => (gray[Math.floor(i / channels)] - mean[i % channels]) / std[i % channels],
  );
}
