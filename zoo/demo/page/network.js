// A multi-layer perceptron as the textbook draws it: columns of circles, a line for every weight that is shown.

import { fit, paintMap, values } from './paint.js'

const PLUS = '91, 147, 255'
const MINUS = '255, 138, 102'

export class Network {
  constructor(canvas, pattern) {
    this.canvas = canvas
    this.pattern = pattern // of the unit that the pointer is at: { figure, canvas, caption }
    this.net = null
    this.hovered = null
    canvas.addEventListener('pointermove', event => this.hover(event))
    canvas.addEventListener('pointerleave', () => this.hover(null))
    new ResizeObserver(() => this.draw()).observe(canvas)
  }

  set(net, shape, classes) {
    this.net = net && { ...net, matrices: net.weights.map(matrix => ({ ...matrix, values: values(matrix) })) }
    this.shape = shape
    this.classes = classes
    this.levels = null
    this.hovered = null
    this.draw()
  }

  // The activations of one image: what the net sees, the hidden layers, the probabilities.
  show(seen, layers, probabilities) {
    const pixels = Uint8Array.from(atob(seen.data), letter => letter.charCodeAt(0))
    this.image = { pixels, height: seen.shape[0], width: seen.shape[1] }
    const hidden = layers.map(layer => values(layer).map(v => v / Math.max(layer.scale, layer.signed ? 0 : 1e-9)))
    // Sigmoid units keep their own scale, 0 to 1.
    layers.forEach((layer, k) => { if (layer.scale <= 1 && !layer.signed) hidden[k] = values(layer) })
    // Of many classes, only the most likely ones are known.
    const outputs = new Float32Array(this.net.sizes.at(-1))
    for (const each of probabilities ?? []) outputs[each.class] = each.p
    const all = [Float32Array.from(pixels, p => p / 255), ...hidden, outputs]
    this.levels = this.net.units.map((units, k) => units.map(unit => Math.max(0, all[k][unit] ?? 0)))
    this.draw()
  }

  clear() {
    this.levels = this.image = null
    this.draw()
  }

  // Where everything is: the image, then the columns.
  layout() {
    const [width, height] = [this.canvas.clientWidth, this.canvas.clientHeight]
    const narrow = width < 560
    const side = narrow ? 0 : Math.min(190, width * 0.18)
    const names = Math.min(narrow ? 70 : 130, 22 + 7 * Math.max(1, ...this.classes.map(name => name.length)))
    const left = narrow ? 36 : 28 + side + Math.min(90, width * 0.09)
    const right = width - names - 16
    const count = this.net.units.length
    const [top, bottom] = [26, height - 40]
    const columns = this.net.units.map((units, k) => {
      const gap = units.length < this.net.sizes[k] && k > 0 ? 1.4 : 0
      const step = Math.min(31, (bottom - top) / (units.length + gap))
      const length = (units.length - 1 + gap) * step
      const middle = (top + bottom) / 2
      const y = units.map((_, i) => middle - length / 2 + (i + (gap && i >= units.length / 2 ? gap : 0)) * step)
      const radius = Math.min(11.5, step * 0.4)
      return { x: left + ((right - left) * k) / (count - 1), y, radius, dots: gap ? middle : null }
    })
    return { width, height, side, columns, middle: (top + bottom) / 2 }
  }

  draw() {
    if (!this.net || !this.canvas.clientWidth) return
    const plan = this.layout()
    const context = fit(this.canvas, plan.width, plan.height)
    this.plan = plan
    if (plan.side) this.drawImage(context, plan)
    this.net.matrices.forEach((matrix, k) => this.drawLines(context, matrix, k, plan.columns[k], plan.columns[k + 1]))
    plan.columns.forEach((column, k) => this.drawUnits(context, column, k, plan))
  }

  // The image, and the column of its pixels that the first circles are.
  drawImage(context, { side, columns, middle }) {
    const x = 18
    const y = middle - side / 2
    const [height, width] = this.image ? [this.image.height, this.image.width] : this.shape.slice(1)
    const cell = side / height
    context.fillStyle = '#05070d'
    context.fillRect(x, y, side, side)
    this.image?.pixels.forEach((level, k) => {
      if (!level) return
      context.fillStyle = `rgb(${level}, ${level}, ${level})`
      context.fillRect(x + (k % width) * cell, y + Math.floor(k / width) * cell, cell + 0.4, cell + 0.4)
    })
    const first = columns[0]
    const units = this.net.units[0]
    const row = k => y + (Math.floor(units[k] / width) + 0.5) * cell
    const column = x + (Math.floor(units[0] % width) + 0.5) * cell
    context.strokeStyle = '#5b93ff'
    context.lineWidth = 1.2
    context.strokeRect(column - cell, row(0) - cell, 2 * cell, row(units.length - 1) - row(0) + 2 * cell)
    context.strokeStyle = 'rgba(140, 155, 190, .28)'
    context.lineWidth = 0.7
    context.beginPath()
    units.forEach((_, k) => {
      context.moveTo(column + cell, row(k))
      context.lineTo(first.x - first.radius, first.y[k])
    })
    context.stroke()
  }

  drawLines(context, matrix, k, from, to) {
    const [rows, columns] = matrix.shape
    const strongest = matrix.scale || 1
    for (let i = 0; i < rows; i++) {
      for (let j = 0; j < columns; j++) {
        const weight = matrix.values[i * columns + j] / strongest
        let strength = Math.abs(weight) * (this.levels ? 0.1 + 0.9 * Math.min(1, this.levels[k][j]) : 0.45)
        if (this.hovered) {
          const mine = (this.hovered.layer === k + 1 && this.hovered.unit === i) || (this.hovered.layer === k && this.hovered.unit === j)
          strength = mine ? 0.25 + 0.75 * Math.abs(weight) : 0.025
        }
        if (strength < 0.015) continue
        context.strokeStyle = `rgba(${weight < 0 ? MINUS : PLUS}, ${Math.min(1, strength * 1.5)})`
        context.lineWidth = 0.5 + 2 * strength
        context.beginPath()
        context.moveTo(from.x + from.radius, from.y[j])
        context.lineTo(to.x - to.radius, to.y[i])
        context.stroke()
      }
    }
  }

  drawUnits(context, column, k, { height, columns }) {
    const last = k === columns.length - 1
    const levels = this.levels?.[k]
    const best = last && levels ? levels.indexOf(Math.max(...levels)) : -1
    context.textBaseline = 'middle'
    column.y.forEach((y, i) => {
      const level = Math.min(1, levels?.[i] ?? 0)
      const chosen = this.hovered?.layer === k && this.hovered.unit === i
      context.beginPath()
      context.arc(column.x, y, column.radius, 0, 2 * Math.PI)
      context.fillStyle = `rgb(${[13, 17, 28].map((c, j) => Math.round(c + ([255, 255, 255][j] - c) * level))})`
      context.fill()
      context.lineWidth = chosen || i === best ? 2 : 1
      context.strokeStyle = chosen || i === best ? '#fff' : '#66708a'
      context.stroke()
      if (!last) return
      context.textAlign = 'left'
      context.font = `${i === best ? 700 : 400} 13px system-ui, sans-serif`
      context.fillStyle = i === best ? '#fff' : '#9aa3ba'
      context.fillText(this.classes[this.net.units[k][i]] ?? '', column.x + column.radius + 8, y, 120)
    })
    context.fillStyle = '#66708a'
    if (column.dots !== null) for (const d of [-6, 0, 6]) context.fillRect(column.x - 1.2, column.dots + d - 1.2, 2.4, 2.4)
    context.textAlign = 'center'
    context.font = '12px system-ui, sans-serif'
    context.fillStyle = '#9aa3ba'
    const size = this.net.sizes[k].toLocaleString('en')
    const shown = column.y.length < this.net.sizes[k] ? `${column.y.length} of ${size}` : size
    context.fillText(shown, column.x, height - 15)
  }

  hover(event) {
    if (!this.plan) return
    const before = this.hovered
    this.hovered = null
    if (event) {
      const box = this.canvas.getBoundingClientRect()
      const [x, y] = [event.clientX - box.left, event.clientY - box.top]
      this.plan.columns.forEach((column, layer) => column.y.forEach((height, unit) => {
        if (Math.hypot(column.x - x, height - y) < column.radius + 3) this.hovered = { layer, unit }
      }))
    }
    if (before?.layer === this.hovered?.layer && before?.unit === this.hovered?.unit) return
    this.showPattern()
    this.draw()
  }

  // The weights of a unit of the first hidden layer are an image.
  showPattern() {
    const weights = this.hovered?.layer === 1 ? this.net.patterns[this.hovered.unit] : null
    this.pattern.figure.hidden = !weights
    if (!weights) return
    paintMap(this.pattern.canvas, weights)
    this.pattern.caption.textContent = `weights of unit ${this.net.units[1][this.hovered.unit]}`
  }
}
