// The sketch pad: strokes as lists of points in units of its side, drawn with round, smooth lines.

import { fit } from './paint.js'

const NEAR = 0.004 // points closer than this are left out

export class Pad {
  // changed(finished) is called after every new point, and at the end of a stroke.
  constructor(canvas, changed) {
    this.canvas = canvas
    this.changed = changed
    this.strokes = []
    this.current = null
    this.width = 0.075
    this.erases = false
    this.enabled = true
    this.picture = null
    canvas.addEventListener('pointerdown', event => this.begin(event))
    canvas.addEventListener('pointermove', event => this.move(event))
    for (const name of ['pointerup', 'pointercancel']) canvas.addEventListener(name, event => this.end(event))
    new ResizeObserver(() => this.paint()).observe(canvas)
  }

  get empty() {
    return !this.strokes.some(stroke => !stroke.erases)
  }

  begin(event) {
    if (!this.enabled || event.button) return
    event.preventDefault()
    this.canvas.setPointerCapture(event.pointerId)
    this.picture = null
    this.current = { points: [], width: this.width, erases: this.erases }
    this.strokes.push(this.current)
    this.add(event)
    this.draw()
    this.changed(false)
  }

  move(event) {
    if (!this.current) return
    const events = event.getCoalescedEvents ? event.getCoalescedEvents() : []
    for (const each of events.length ? events : [event]) this.add(each)
    this.draw()
    this.changed(false)
  }

  end() {
    if (!this.current) return
    this.current = null
    this.changed(true)
  }

  add(event) {
    const box = this.canvas.getBoundingClientRect()
    const [x, y] = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height]
    const inside = value => Math.round(Math.min(1.5, Math.max(-0.5, value)) * 1e4) / 1e4
    const points = this.current.points
    const last = points.slice(-2)
    if (last.length && Math.hypot(x - last[0], y - last[1]) < NEAR) return
    points.push(inside(x), inside(y))
  }

  undo() {
    this.strokes.pop()
    this.draw()
    this.changed(true)
  }

  clear() {
    this.strokes = []
    this.picture = null
    this.draw()
    this.changed(true)
  }

  // Show strokes at once, or point by point as if somebody drew them.
  async play(strokes, animate) {
    const playing = (this.playing = {})
    this.strokes = []
    this.picture = null
    for (const stroke of strokes) {
      const points = stroke.points
      const step = animate ? Math.max(2, 2 * Math.ceil(points.length / 2 / 14)) : points.length
      const drawn = { ...stroke, points: [] }
      this.strokes.push(drawn)
      for (let k = 0; k < points.length; k += step) {
        drawn.points.push(...points.slice(k, k + step))
        this.draw()
        if (!animate) continue
        this.changed(false)
        await new Promise(requestAnimationFrame)
        if (this.playing !== playing || !this.strokes.includes(drawn)) return
      }
    }
    this.changed(true)
  }

  show(picture) {
    this.strokes = []
    this.picture = picture
    this.draw()
  }

  // Many points may arrive within one frame.
  draw() {
    if (this.scheduled) return
    this.scheduled = true
    requestAnimationFrame(() => { this.scheduled = false; this.paint() })
  }

  paint() {
    const side = this.canvas.clientWidth
    if (!side) return
    const context = fit(this.canvas, side, side)
    context.fillStyle = '#0d111c'
    context.fillRect(0, 0, side, side)
    if (this.picture) {
      const { width, height } = this.picture
      const scale = Math.min(side / width, side / height)
      context.drawImage(this.picture, (side - width * scale) / 2, (side - height * scale) / 2, width * scale, height * scale)
    }
    context.lineCap = context.lineJoin = 'round'
    for (const { points, width, erases } of this.strokes) {
      context.strokeStyle = erases ? '#0d111c' : '#f4f6fb'
      context.lineWidth = width * side
      context.beginPath()
      context.moveTo(points[0] * side, points[1] * side)
      for (let k = 0; k < points.length; k += 2) context.lineTo(points[k] * side, points[k + 1] * side)
      context.stroke()
    }
  }
}
