// Paint the bytes of the server onto canvases: images, and activations in the colors of the legend.

const UP = [[13, 17, 28], [36, 64, 143], [91, 147, 255], [255, 255, 255]]
const PLUS = [[13, 17, 28], [91, 147, 255], [234, 241, 255]]
const MINUS = [[13, 17, 28], [255, 138, 102], [255, 227, 218]]
const HEAT = [[13, 17, 28], [150, 40, 90], [255, 138, 60], [255, 240, 170]]

// A table of 256 colors through the stops.
function table(stops) {
  return Array.from({ length: 256 }, (_, k) => {
    const at = (k / 255) * (stops.length - 1)
    const i = Math.min(Math.floor(at), stops.length - 2)
    return stops[i].map((c, j) => Math.round(c + (stops[i + 1][j] - c) * (at - i)))
  })
}

const TABLES = { up: table(UP), plus: table(PLUS), minus: table(MINUS), heat: table(HEAT) }

export function bytes(data) {
  return Uint8Array.from(atob(data), letter => letter.charCodeAt(0))
}

// The values of an encoded tensor.
export function values(grid) {
  const { scale, signed } = grid
  return Float32Array.from(bytes(grid.data), b => (signed ? (b - 128) / 127 : b / 255) * scale)
}

// The color of a level: a byte of an encoded tensor.
function color(level, signed) {
  if (!signed) return TABLES.up[level]
  const distance = Math.min(255, Math.abs(level - 128) * 2)
  return TABLES[level < 128 ? 'minus' : 'plus'][distance]
}

// Levels, height x width, as an offscreen canvas.
function sheet(levels, height, width, pick) {
  const canvas = new OffscreenCanvas(width, height)
  const context = canvas.getContext('2d')
  const image = context.createImageData(width, height)
  for (let k = 0; k < height * width; k++) {
    const [r, g, b] = pick(levels[k])
    image.data.set([r, g, b, 255], 4 * k)
  }
  context.putImageData(image, 0, 0)
  return canvas
}

// An image of the server (H x W x C bytes) on a canvas of its own size.
export function paintImage(canvas, image) {
  const [height, width, channels] = image.shape
  const source = bytes(image.data)
  canvas.width = width
  canvas.height = height
  const context = canvas.getContext('2d')
  const target = context.createImageData(width, height)
  for (let k = 0; k < height * width; k++) {
    for (let c = 0; c < 3; c++) target.data[4 * k + c] = source[channels * k + (channels === 3 ? c : 0)]
    target.data[4 * k + 3] = 255
  }
  context.putImageData(target, 0, 0)
}

// One map, such as the weights of a unit.
export function paintMap(canvas, grid) {
  const [height, width] = grid.shape
  canvas.width = width
  canvas.height = height
  canvas.getContext('2d').drawImage(sheet(bytes(grid.data), height, width, v => color(v, grid.signed)), 0, 0)
}

// A Grad-CAM map over the gray image: the color says how much, the brightness shows the image.
export function paintHeat(canvas, image, heat) {
  paintImage(canvas, image)
  const context = canvas.getContext('2d')
  const shown = context.getImageData(0, 0, canvas.width, canvas.height)
  const levels = bytes(heat.data)
  levels.forEach((level, k) => {
    const [r, g, b] = shown.data.subarray(4 * k, 4 * k + 3)
    const gray = 0.3 * r + 0.59 * g + 0.11 * b
    TABLES.heat[level].forEach((c, j) => { shown.data[4 * k + j] = 0.62 * c + 0.45 * gray })
  })
  context.putImageData(shown, 0, 0)
}

// Size a canvas for its box and the pixels of the screen; drawing is in CSS pixels afterwards.
export function fit(canvas, width, height) {
  const ratio = devicePixelRatio || 1
  canvas.width = Math.round(width * ratio)
  canvas.height = Math.round(height * ratio)
  const context = canvas.getContext('2d')
  context.scale(ratio, ratio)
  return context
}

// The maps of a layer side by side, K x h x w.
function paintMaps(canvas, grid, width) {
  const [count, rows, columns] = grid.shape
  const gap = 5
  const wide = Math.min(132, Math.max(30, (width + gap) / Math.min(count, width < 500 ? 8 : 16) - gap))
  const across = Math.max(1, Math.floor((width + gap) / (wide + gap)))
  const high = (wide * rows) / columns
  const height = Math.ceil(count / across) * (high + gap) - gap
  canvas.style.height = `${height}px`
  const context = fit(canvas, width, height)
  context.imageSmoothingEnabled = columns > wide
  context.strokeStyle = '#222a3d'
  const levels = bytes(grid.data)
  for (let k = 0; k < count; k++) {
    const tile = sheet(levels.subarray(k * rows * columns, (k + 1) * rows * columns), rows, columns, v => color(v, grid.signed))
    const [x, y] = [(k % across) * (wide + gap), Math.floor(k / across) * (high + gap)]
    context.drawImage(tile, x, y, wide, high)
    context.strokeRect(x + 0.5, y + 0.5, wide - 1, high - 1)
  }
}

// The units of a layer as cells in reading order.
function paintUnits(canvas, grid, width) {
  const levels = bytes(grid.data)
  const size = Math.min(34, Math.max(5, Math.sqrt((width * 120) / levels.length)))
  const across = Math.min(levels.length, Math.floor(width / size))
  const height = Math.ceil(levels.length / across) * size
  canvas.style.height = `${height}px`
  const context = fit(canvas, width, height)
  const inset = size > 9 ? 1.5 : 0.5
  levels.forEach((level, k) => {
    context.fillStyle = `rgb(${color(level, grid.signed)})`
    context.beginPath()
    context.roundRect((k % across) * size, Math.floor(k / across) * size, size - inset, size - inset, size > 9 ? 3 : 1)
    context.fill()
    context.strokeStyle = '#222a3d'
    if (size > 9) context.stroke()
  })
}

// One block for each layer; the canvases stay, so that nothing flickers.
export function paintLayers(parent, layers) {
  while (parent.children.length > layers.length) parent.lastChild.remove()
  while (parent.children.length < layers.length) {
    const block = document.createElement('div')
    block.className = 'layer'
    block.innerHTML = '<p><b></b><span></span></p><div class="night"><canvas></canvas></div>'
    parent.append(block)
  }
  layers.forEach((layer, k) => {
    const block = parent.children[k]
    const shown = layer.shape[0] < layer.total ? `, the first ${layer.shape[0].toLocaleString('en')} of them` : ''
    const low = layer.signed ? -layer.scale : 0
    block.querySelector('b').textContent = layer.name
    block.querySelector('span').textContent = `${layer.title}${shown}, ${low.toPrecision(2)} to ${layer.scale.toPrecision(2)}`
    const canvas = block.querySelector('canvas')
    const width = canvas.clientWidth
    if (layer.shape.length === 3) paintMaps(canvas, layer, width)
    else paintUnits(canvas, layer, width)
  })
}
