// The page: which net is shown, what was drawn, and where the answers go.

import { Code } from './code.js'
import { Dream } from './dream.js'
import { examplesFor } from './examples.js'
import { Network } from './network.js'
import { Pad } from './pad.js'
import { paintHeat, paintImage, paintLayers } from './paint.js'
import { get, latest, post, upload } from './server.js'

const SLOW = 60 // milliseconds that an answer may take while a line is drawn
const PAUSE = 30 // milliseconds between two answers while a line is drawn
const $ = id => document.getElementById(id)
const state = { key: '', net: null, file: null, target: null, ended: 0 }

const pad = new Pad($('pad'), changed)
const network = new Network($('network'), { figure: $('pattern-view'), canvas: $('pattern'), caption: $('pattern-name') })
const code = new Code($('code'), $('decoded'), failed)
const dreams = new Dream(
  {
    canvas: $('dream'), shown: $('dream-class'), strip: $('strip'), sampled: $('sampled'), labels: $('labels'),
    fromDrawing: $('from-drawing'), fromNoise: $('from-noise'), pause: $('pause'), samples: $('samples'),
  },
  () => (pad.empty ? null : { strokes: pad.strokes, framing: $('framing').value }),
  failed,
)

function failed(error) {
  $('message').textContent = error ? error.message : ''
  $('message').hidden = !error
}

// The net

async function choose(key) {
  state.key = key
  delete document.body.dataset.net
  $('title').textContent = 'Opening the net …'
  $('facts').textContent = ''
  const about = state.checkpoints.find(each => each.key === key)
  let net
  try {
    net = await get(`/api/checkpoint?checkpoint=${encodeURIComponent(key)}`)
  } catch (error) {
    $('title').textContent = about.title
    return failed(error)
  }
  if (state.key !== key) return
  failed(null)
  Object.assign(state, { net, target: null, slow: false })
  const photo = net.shape[0] !== 1
  document.body.classList.toggle('photo', photo)
  document.body.classList.toggle('unlabeled', !net.classes.length)
  pad.enabled = !photo
  if (photo) pad.clear()
  $('title').textContent = about.title
  $('facts').textContent = about.facts.join(' · ')
  $('framing').value = net.framing
  $('hint').textContent = photo ? 'Drop a photograph here,\nor click to choose one' : net.framing === 'fashion_mnist' ? 'Draw a piece of clothing' : 'Draw a digit'
  showExamples(net)
  $('bars').replaceChildren()
  $('verdict').hidden = $('bars').hidden = !net.classes.length
  for (const id of ['heat-view', 'reconstruction-view', 'code-card']) $(id).hidden = true
  $('network-card').hidden = !net.diagram
  network.set(net.diagram, net.shape, net.classes)
  if (net.diagram) $('sizes').textContent = net.diagram.sizes.join('-')
  $('dream-card').hidden = !net.dreams
  dreams.set(key, net.labels ? net.classes : [])
  blank()
  document.body.dataset.net = key
  update()
}

function showExamples(net) {
  const digits = net.framing === 'mnist' && !net.classes.length
  const found = net.shape[0] === 1 ? examplesFor(net.classes, digits) : new Map()
  $('examples').replaceChildren()
  for (const [name, strokes] of found) {
    const button = document.createElement('button')
    button.textContent = button.title = name
    button.ariaLabel = `Example: ${name}`
    button.addEventListener('click', () => pad.play(strokes, !matchMedia('(prefers-reduced-motion: reduce)').matches))
    $('examples').append(button)
  }
}

// The input

function changed(finished) {
  state.file = null
  state.target = null
  state.answered = false
  state.ended = finished ? performance.now() : 0
  delete document.body.dataset.latency
  $('hint').hidden = pad.strokes.length > 0
  update()
}

async function take(file) {
  if (!file) return
  state.file = file
  state.target = null
  let picture = null
  try {
    picture = await createImageBitmap(file)
  } catch { /* the server says what is wrong with it */ }
  pad.show(picture)
  $('hint').hidden = Boolean(picture)
  update()
}

// The answer

// A net that takes long answers briefly while a line is drawn, and in full once it ends.
const update = latest(async () => {
  if (!state.net) return
  const query = new URLSearchParams({ checkpoint: state.key, framing: $('framing').value })
  if (!state.file && pad.empty) return blank()
  if (pad.current) await new Promise(done => setTimeout(done, PAUSE))
  const { key, ended } = state
  try {
    let answer
    if (state.file) {
      if (state.target !== null) query.set('target', state.target)
      answer = await upload(`/api/picture?${query}`, state.file)
    } else {
      const brief = state.slow && (pad.current !== null || !state.answered)
      const body = { strokes: pad.strokes, framing: $('framing').value, target: state.target, brief }
      answer = await post(`/api/drawing?${query}`, body)
    }
    if (state.key !== key || (!state.file && pad.empty)) return
    failed(null)
    state.slow ||= answer.milliseconds > SLOW
    show(answer)
    state.answered = pad.current === null
    if (!answer.layers && state.answered) update()
    if (ended && ended === state.ended) {
      requestAnimationFrame(() => { document.body.dataset.latency = (performance.now() - ended).toFixed(1) })
      state.ended = 0
    }
  } catch (error) {
    blank()
    failed(error)
  }
})

function blank() {
  $('best').textContent = '–'
  $('sure').textContent = state.net?.shape[0] === 1 ? 'Draw something.' : 'Choose a photograph.'
  $('time').textContent = ''
  for (const row of $('bars').children) row.querySelector('.fill').style.transform = 'scaleX(0)'
  for (const id of ['seen', 'heat', 'reconstruction']) $(id).getContext('2d').clearRect(0, 0, $(id).width, $(id).height)
  $('layers-card').hidden = true
  $('code-card').hidden = true
  delete document.body.dataset.best
  if (!$('bars').children.length && state.net) bars(state.net.classes.slice(0, 10).map((name, k) => ({ class: k, name, p: 0 })))
  if (state.net?.diagram) network.clear()
}

function show(answer) {
  paintImage($('seen'), answer.seen)
  if (answer.layers) $('heat-view').hidden = !answer.heat
  if (answer.heat) {
    paintHeat($('heat'), answer.seen, answer.heat)
    $('heat-class').textContent = `for ${state.net.classes[answer.heat.class]}`
  }
  if (answer.probabilities) verdict(answer)
  $('reconstruction-view').hidden = !answer.reconstruction
  if (answer.reconstruction) paintImage($('reconstruction'), answer.reconstruction)
  if (!answer.layers) return
  $('code-card').hidden = !answer.code
  if (answer.code) code.set(state.key, answer.code, answer.reconstruction)
  $('layers-card').hidden = !answer.layers.length
  paintLayers($('layers'), answer.layers)
  if (state.net.diagram) network.show(answer.seen, answer.layers, answer.probabilities)
}

function percent(p) {
  if (p >= 0.9995) return '> 99.9 %'
  return p < 0.0005 ? '< 0.1 %' : `${(100 * p).toFixed(1)} %`
}

function verdict(answer) {
  const best = answer.probabilities.find(each => each.class === answer.best)
  $('best').textContent = best.name
  $('best').classList.toggle('name', best.name.length > 2)
  $('sure').textContent = `${percent(best.p)} sure`
  $('time').textContent = `computed in ${answer.milliseconds.toFixed(0)} ms`
  document.body.dataset.best = best.name
  bars(answer.probabilities, answer)
}

function bars(rows, answer) {
  const list = $('bars')
  const longest = Math.max(1, ...rows.map(row => row.name.length))
  list.style.setProperty('--names', `${Math.min(longest, 16) * 0.62 + 0.3}em`)
  while (list.children.length > rows.length) list.lastChild.remove()
  while (list.children.length < rows.length) {
    const item = document.createElement('li')
    item.innerHTML = '<button><span class="name"></span><span class="track"><i class="fill"></i></span><span class="p"></span></button>'
    item.firstChild.addEventListener('click', () => { state.target = Number(item.dataset.class); update() })
    list.append(item)
  }
  rows.forEach((row, k) => {
    const item = list.children[k]
    const button = item.firstChild
    item.dataset.class = row.class
    item.classList.toggle('best', answer?.best === row.class)
    if (!answer || answer.layers) button.disabled = !answer?.heat
    button.ariaPressed = String(state.target !== null && state.target === row.class)
    button.title = answer?.heat ? `Show Grad-CAM for ${row.name}` : row.name
    button.querySelector('.name').textContent = row.name
    button.querySelector('.fill').style.transform = `scaleX(${row.p})`
    button.querySelector('.p').textContent = answer ? percent(row.p) : ''
  })
}

// The controls

for (const button of document.querySelectorAll('.segments button')) {
  button.addEventListener('click', () => {
    pad.erases = 'erases' in button.dataset
    pad.width = Number(button.dataset.width ?? 0.12)
    for (const each of document.querySelectorAll('.segments button')) each.ariaPressed = String(each === button)
  })
}
$('undo').addEventListener('click', () => pad.undo())
$('clear').addEventListener('click', () => { pad.playing = null; pad.clear() })
$('framing').addEventListener('change', () => update())
$('code-reset').addEventListener('click', () => code.reset())
$('checkpoint').addEventListener('change', event => choose(event.target.value))
$('file').addEventListener('change', event => { take(event.target.files[0]); event.target.value = '' })
$('pad').addEventListener('click', () => { if (!pad.enabled) $('file').click() })
for (const name of ['dragenter', 'dragover']) {
  document.addEventListener(name, event => { event.preventDefault(); $('drop').classList.add('dragging') })
}
for (const name of ['dragleave', 'drop']) {
  document.addEventListener(name, event => {
    event.preventDefault()
    if (name === 'drop' || !event.relatedTarget) $('drop').classList.remove('dragging')
    if (name === 'drop') take(event.dataTransfer.files[0])
  })
}
$('theme').addEventListener('click', () => {
  const root = document.documentElement
  const dark = root.dataset.theme ? root.dataset.theme === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches
  root.dataset.theme = dark ? 'light' : 'dark'
})
addEventListener('keydown', event => {
  if ((event.ctrlKey || event.metaKey) && event.key === 'z' && pad.enabled) pad.undo()
})

// The beginning

try {
  state.checkpoints = (await get('/api/checkpoints')).checkpoints
  const groups = new Map()
  for (const each of state.checkpoints) {
    if (!groups.has(each.group)) groups.set(each.group, Object.assign(document.createElement('optgroup'), { label: each.group }))
    groups.get(each.group).append(new Option(each.label, each.key))
  }
  $('checkpoint').append(...groups.values())
  $('checkpoint').value = state.checkpoints[0].key
  await choose(state.checkpoints[0].key)
} catch (error) { failed(error) }
