// Gibbs chains: one that begins at the drawing or at noise, and ten whose samples appear side by side.

import { paintImage } from './paint.js'
import { post } from './server.js'

const FRAME = 90 // milliseconds between two frames
const FRAMES = 12 // frames of one request
const STRIP = 20 // frames that stay visible
const SAMPLES = 10
const SAMPLE_STEPS = 25 // Gibbs steps between two frames of the samples
const SAMPLE_FRAMES = 20

export class Dream {
  // drawing() gives the body of a request that starts at the drawing, or null.
  constructor(parts, drawing, failed) {
    this.parts = parts
    this.drawing = drawing
    this.failed = failed
    this.run = null
    this.label = null
    parts.fromDrawing.addEventListener('click', () => this.start(true))
    parts.fromNoise.addEventListener('click', () => this.start(false))
    parts.pause.addEventListener('click', () => this.pause())
    parts.samples.addEventListener('click', () => this.sample())
  }

  set(key, classes) {
    this.stop()
    Object.assign(this, { key, classes, label: null })
    for (const part of [this.parts.strip, this.parts.sampled, this.parts.labels]) part.replaceChildren()
    this.parts.canvas.getContext('2d').clearRect(0, 0, 28, 28)
    this.parts.shown.textContent = ''
    this.parts.labels.hidden = !classes.length
    if (!classes.length) return
    const choices = [['any class', null], ...classes.map((name, k) => [name, k])]
    for (const [name, label] of choices) {
      const button = document.createElement('button')
      button.textContent = name
      button.ariaPressed = String(label === null)
      button.addEventListener('click', () => this.choose(label, button))
      this.parts.labels.append(button)
    }
  }

  // A running chain goes on with its label units fixed at the new class.
  choose(label, button) {
    this.label = label
    for (const each of this.parts.labels.children) each.ariaPressed = String(each === button)
  }

  ask(body) {
    return post(`/api/dream?checkpoint=${encodeURIComponent(this.key)}`, { label: this.label, ...body })
  }

  stop() {
    this.run = null
    this.parts.pause.disabled = true
    this.parts.pause.textContent = 'Pause'
  }

  pause() {
    if (!this.run) return
    this.run.paused = !this.run.paused
    this.parts.pause.textContent = this.run.paused ? 'Go on' : 'Pause'
  }

  async start(fromDrawing) {
    const beginning = fromDrawing ? this.drawing() : {}
    if (!beginning) return this.failed(new Error('Draw something first; the chain begins there.'))
    const run = (this.run = { paused: false })
    this.parts.pause.disabled = false
    this.parts.pause.textContent = 'Pause'
    this.parts.strip.replaceChildren()
    let body = beginning
    try {
      while (this.run === run) {
        const part = await this.ask({ ...body, frames: FRAMES, steps: 1, chains: 1 })
        for (let k = 0; k < part.images.length && this.run === run; k++) {
          do await new Promise(done => setTimeout(done, FRAME))
          while (run.paused && this.run === run)
          if (this.run === run) this.show(part.images[k][0], part.classes[k]?.[0])
        }
        body = { state: part.state }
      }
    } catch (error) {
      this.stop()
      this.failed(error)
    }
  }

  show(image, label) {
    paintImage(this.parts.canvas, image)
    this.parts.shown.textContent = label === undefined ? '' : this.classes[label]
    const small = document.createElement('canvas')
    paintImage(small, image)
    this.parts.strip.append(small)
    while (this.parts.strip.children.length > STRIP) this.parts.strip.firstChild.remove()
  }

  async sample() {
    const { samples, sampled } = this.parts
    samples.disabled = true
    try {
      let state = ''
      for (let k = 0; k < SAMPLE_FRAMES; k++) {
        const key = this.key
        const part = await this.ask({ frames: 1, steps: SAMPLE_STEPS, chains: SAMPLES, state })
        if (this.key !== key) break
        state = part.state
        while (sampled.children.length < SAMPLES) sampled.append(document.createElement('canvas'))
        part.images[0].forEach((image, n) => paintImage(sampled.children[n], image))
      }
    } catch (error) { this.failed(error) }
    samples.disabled = false
  }
}
