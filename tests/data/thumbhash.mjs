// Writes thumbhash.json: `npm install thumbhash@0.1.1` in a folder, this file beside it, `node thumbhash.mjs > thumbhash.json`.
// tests/test_thumbhash.py draws the same pictures, in whole numbers only.
import { rgbaToThumbHash } from 'thumbhash'

let seed = 1
const random = () => {
  seed = (seed * 69069 + 1) % 2 ** 32
  return seed >>> 24
}
const pictures = {
  noise: () => [random(), random(), random(), 255],
  slope: (x, y) => [(3 * x + 5 * y) % 256, (x * x + 2 * y) % 256, (7 * y + (x >> 1)) % 256, 255],
  specks: () => [random(), random(), random(), random()],
  fading: (x, y) => [(3 * x + 5 * y) % 256, (x * x + 2 * y) % 256, (7 * y) % 256, (11 * x + 17 * y) % 256],
  stripes: (x, y) => (y & 4 ? [250, 240, 20, 255] : [10, 30, 200, 255]),
  hole: (x, y) => [250, 60, 30, x < y ? 0 : 255],
  even: () => [200, 40, 90, 255],
  white: () => [255, 255, 255, 255],
  black: () => [0, 0, 0, 255],
  glass: () => [10, 200, 90, 128],
  clear: () => [9, 9, 9, 0],
}
const sizes = [[32, 32], [32, 21], [18, 32], [100, 100], [100, 3], [3, 100], [5, 4], [2, 1], [1, 2], [1, 1]]
const lines = []
for (const [name, pixel] of Object.entries(pictures)) {
  for (const [width, height] of sizes) {
    seed = 1
    const rgba = new Uint8Array(width * height * 4)
    for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) rgba.set(pixel(x, y), 4 * (x + y * width))
    lines.push(JSON.stringify([name, width, height, Buffer.from(rgbaToThumbHash(width, height, rgba)).toString('hex')]))
  }
}
console.log(`[\n${lines.join(',\n')}\n]`)
