// The latent code of an autoencoder as bars that can be dragged; the decoder redraws the image.

import { fit, paintImage } from './paint.js'
import { latest, post } from './server.js'

export class Code {
  constructor(canvas, image, failed) {
    this.canvas = canvas
    this.image = image
    this.values = null
    this.decode = latest(async code => {
      try {
        paintImage(this.image, (await post(`/api/code?checkpoint=${encodeURIComponent(this.key)}`, { code })).image)
      } catch (error) { failed(error) }
    })
    canvas.addEventListener('pointerdown', event => { canvas.setPointerCapture(event.pointerId); this.dragging = true; this.drag(event) })
    canvas.addEventListener('pointermove', event => this.dragging && this.drag(event))
    for (const name of ['pointerup', 'pointercancel']) canvas.addEventListener(name, () => { this.dragging = false })
    new ResizeObserver(() => this.draw()).observe(canvas)
  }

  set(key, values, reconstruction) {
    this.key = key
    this.original = values
    this.values = [...values]
    this.limit = 1.25 * Math.max(1, ...values.map(Math.abs))
    paintImage(this.image, reconstruction)
    this.draw()
  }

  reset() {
    if (!this.values) return
    this.values = [...this.original]
    this.draw()
    this.decode(this.values)
  }

  drag(event) {
    if (!this.values) return
    const box = this.canvas.getBoundingClientRect()
    const k = Math.min(this.values.length - 1, Math.max(0, Math.floor(((event.clientX - box.left) / box.width) * this.values.length)))
    const share = (event.clientY - box.top) / box.height
    this.values[k] = Math.max(-1, Math.min(1, 1 - 2 * share)) * this.limit
    this.draw()
    this.decode([...this.values])
  }

  draw() {
    if (!this.values || !this.canvas.clientWidth) return
    const [width, height] = [this.canvas.clientWidth, this.canvas.clientHeight]
    const context = fit(this.canvas, width, height)
    const step = width / this.values.length
    context.fillStyle = '#2a3145'
    context.fillRect(0, height / 2 - 0.5, width, 1)
    this.values.forEach((value, k) => {
      const length = (value / this.limit) * (height / 2)
      context.fillStyle = '#161b29'
      context.fillRect(k * step + step * 0.15, 0, step * 0.7, height)
      context.fillStyle = value < 0 ? '#ff8a66' : '#5b93ff'
      context.beginPath()
      context.roundRect(k * step + step * 0.15, height / 2 - Math.max(0, length), step * 0.7, Math.max(1.5, Math.abs(length)), 2)
      context.fill()
    })
  }
}
