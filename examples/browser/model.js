// A .tflite file in the browser, float or int8, with the numbers of its sidecar `FILE.json`.

import { Tensor, loadAndCompile, loadLiteRt } from "@litertjs/core";

const WASM = new URL("./node_modules/@litertjs/core/wasm/", import.meta.url).href;
const INT8 = 9; // LiteRT's number for this type
let runtime; // a promise: the runtime is loaded once

/**
 * Loads a file and its sidecar.
 *
 * @param {string} url Address of the .tflite file.
 * @returns {Promise<{about: object, run: (input: Float32Array) => Promise<Float32Array>}>} What
 *   the sidecar says, and a function from real inputs to real outputs, whatever the file stores.
 */
export async function loadModel(url) {
  runtime ??= loadLiteRt(WASM);
  const [litert, about, bytes] = await Promise.all([
    runtime,
    fetchFile(`${url}.json`).then((response) => response.json()),
    fetchFile(url).then((response) => response.arrayBuffer()),
  ]);
  if (bytes.byteLength !== about.bytes) {
    throw new Error(`${url} has ${bytes.byteLength} bytes; its sidecar says ${about.bytes}.`);
  }
  const make = { float32: floatModel, int8: int8Model }[about.inputs[0].dtype];
  if (!make) {
    throw new Error(`${url} takes ${about.inputs[0].dtype}; this page runs float32 and int8.`);
  }
  return { about, run: await make(litert, new Uint8Array(bytes), about) };
}

async function fetchFile(url) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url}: ${response.status} ${response.statusText}`);
  return response;
}

/** The package's own way. */
async function floatModel(litert, bytes, about) {
  const model = await loadAndCompile(bytes, { accelerator: "wasm" });
  return async (values) => {
    const input = new Tensor(values, about.inputs[0].shape);
    const [output] = await model.run(input);
    const scores = output.toTypedArray();
    input.delete(); // what lies in WebAssembly's memory is not collected as garbage
    output.delete();
    return scores;
  };
}

/**
 * The package's tensors know float32, int32 and uint8 only and refuse a file that takes int8, which
 * its engine runs well. So this speaks with the engine, as the package itself does.
 */
async function int8Model(litert, bytes, about) {
  const [input] = about.inputs;
  const [output] = about.outputs;
  const wasm = litert.liteRtWasm;
  const environment = litert.getDefaultEnvironment().liteRtEnvironment;
  const place = wasm._malloc(bytes.length); // kept: the constants are read where they lie
  wasm.HEAPU8.set(bytes, place);
  const model = wasm.loadModel(environment, place, bytes.length);
  const options = { accelerator: "wasm", cpuOptions: { numThreads: 1 } };
  const compiled = await wasm.compileModel(environment, model, options);
  const buffer = createBuffer(wasm, environment, input.shape);
  return async (values) => {
    access(wasm, buffer, "WRITE").set(values.map((v) => quantize(v, input.quantization)));
    buffer.unlock();
    const [result] = await compiled.run(0, [buffer]);
    const stored = access(wasm, result, "READ").slice();
    result.unlock();
    result.delete();
    return Float32Array.from(stored, (q) => dequantize(q, output.quantization));
  };
}

function createBuffer(wasm, environment, shape) {
  const dimensions = new wasm.VectorInt32();
  shape.forEach((n) => dimensions.push_back(n));
  const layout = wasm.LiteRtLayout.create(dimensions);
  const type = wasm.LiteRtRankedTensorType.create({ value: INT8 }, layout);
  const kind = wasm.LiteRtTensorBufferType.HOST_MEMORY;
  return wasm.LiteRtTensorBuffer.createManaged(environment, kind, type, type.bytes());
}

function access(wasm, buffer, mode) {
  const start = buffer.lock(wasm.LiteRtTensorBufferLockMode[mode]);
  return new Int8Array(wasm.HEAPU8.buffer, start, buffer.packedSize());
}

/** real = scale · (stored − zero point), in float32 and with halves up, as the model rounds. */
function quantize(value, { scale, zero_point }) {
  const steps = Math.floor(Math.fround(Math.fround(value / Math.fround(scale)) + 0.5));
  return Math.min(Math.max(steps + zero_point, -128), 127);
}

function dequantize(stored, { scale, zero_point }) {
  return (stored - zero_point) * scale;
}
