// Example drawings: lines through a few points, smoothed.

const DIGITS = [
  [[[0.56, 0.2], [0.4, 0.25], [0.31, 0.45], [0.34, 0.68], [0.48, 0.8], [0.63, 0.7], [0.68, 0.48], [0.62, 0.28], [0.5, 0.19]]],
  [[[0.41, 0.32], [0.47, 0.27], [0.53, 0.19], [0.53, 0.19], [0.52, 0.5], [0.5, 0.81]]],
  [[[0.33, 0.33], [0.39, 0.22], [0.52, 0.18], [0.65, 0.27], [0.62, 0.42], [0.48, 0.6], [0.32, 0.78], [0.32, 0.78], [0.5, 0.77], [0.71, 0.77]]],
  [[[0.35, 0.24], [0.5, 0.18], [0.64, 0.27], [0.6, 0.41], [0.46, 0.48], [0.46, 0.48], [0.63, 0.55], [0.66, 0.7], [0.52, 0.81], [0.34, 0.75]]],
  [[[0.42, 0.19], [0.37, 0.36], [0.32, 0.53], [0.32, 0.53], [0.5, 0.54], [0.71, 0.52]], [[0.61, 0.31], [0.59, 0.58], [0.58, 0.83]]],
  [[[0.66, 0.2], [0.42, 0.21], [0.42, 0.21], [0.38, 0.45], [0.38, 0.45], [0.54, 0.43], [0.66, 0.55], [0.63, 0.72], [0.5, 0.8], [0.34, 0.75]]],
  [[[0.6, 0.19], [0.46, 0.31], [0.37, 0.52], [0.38, 0.72], [0.5, 0.81], [0.63, 0.73], [0.62, 0.58], [0.5, 0.53], [0.38, 0.62]]],
  [[[0.32, 0.23], [0.5, 0.23], [0.68, 0.22], [0.68, 0.22], [0.56, 0.48], [0.46, 0.81]]],
  [[[0.62, 0.27], [0.5, 0.19], [0.39, 0.28], [0.48, 0.45], [0.62, 0.62], [0.59, 0.77], [0.46, 0.81], [0.37, 0.7], [0.47, 0.52], [0.6, 0.38], [0.62, 0.27]]],
  [[[0.63, 0.3], [0.52, 0.19], [0.38, 0.28], [0.4, 0.44], [0.54, 0.47], [0.63, 0.33], [0.63, 0.33], [0.62, 0.57], [0.56, 0.82]]],
]

// Clothes, as thick lines: [width, points].
const CLOTHES = {
  'T-shirt/top': [[0.3, [[0.5, 0.3], [0.5, 0.74]]], [0.15, [[0.4, 0.22], [0.2, 0.38]]], [0.15, [[0.6, 0.22], [0.8, 0.38]]]],
  Trouser: [[0.12, [[0.44, 0.15], [0.43, 0.5], [0.4, 0.86]]], [0.12, [[0.56, 0.15], [0.57, 0.5], [0.6, 0.86]]], [0.1, [[0.42, 0.14], [0.58, 0.14]]]],
  Dress: [[0.16, [[0.5, 0.16], [0.5, 0.5]]], [0.2, [[0.5, 0.5], [0.5, 0.84]]], [0.1, [[0.48, 0.5], [0.4, 0.86]]], [0.1, [[0.52, 0.5], [0.6, 0.86]]]],
  Bag: [[0.2, [[0.26, 0.5], [0.74, 0.5]]], [0.2, [[0.26, 0.68], [0.74, 0.68]]], [0.04, [[0.32, 0.42], [0.38, 0.24], [0.5, 0.18], [0.62, 0.24], [0.68, 0.42]]]],
  'Ankle boot': [[0.26, [[0.63, 0.27], [0.63, 0.58]]], [0.22, [[0.65, 0.68], [0.42, 0.7], [0.24, 0.72]]]],
}

// Smooth curves; a point that occurs twice is a corner.
function smooth(points) {
  const corner = points.findIndex((point, k) => k > 0 && String(point) === String(points[k - 1]))
  if (corner > 0) return [...curve(points.slice(0, corner)), ...smooth(points.slice(corner))]
  return curve(points)
}

// Catmull-Rom through the points.
function curve(points) {
  const at = k => points[Math.min(points.length - 1, Math.max(0, k))]
  const flat = []
  for (let k = 0; k + 1 < points.length; k++) {
    const [a, b, c, d] = [at(k - 1), at(k), at(k + 1), at(k + 2)]
    for (let t = 0; t < 1; t += 0.1) {
      for (const j of [0, 1]) {
        const value = 2 * b[j] + (c[j] - a[j]) * t + (2 * a[j] - 5 * b[j] + 4 * c[j] - d[j]) * t ** 2 + (3 * b[j] - a[j] - 3 * c[j] + d[j]) * t ** 3
        flat.push(Math.round(value * 5000) / 10000)
      }
    }
  }
  return [...flat, ...points.at(-1)]
}

// Name of an example -> its strokes, for these classes.
export function examplesFor(classes, dataset) {
  const found = new Map()
  if (classes.includes('Trouser')) {
    for (const [name, lines] of Object.entries(CLOTHES)) {
      found.set(name, lines.map(([width, points]) => ({ points: smooth(points), width, erases: false })))
    }
  } else if (dataset || classes.join('') === '0123456789') {
    DIGITS.forEach((lines, k) => found.set(String(k), lines.map(points => ({ points: smooth(points), width: 0.075, erases: false }))))
  }
  return found
}
