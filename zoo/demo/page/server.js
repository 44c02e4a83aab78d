// Talk to the endpoints of the page's own server.

async function answered(response) {
  const body = await response.json().catch(() => ({ error: `The server answered with status ${response.status}.` }))
  if (!response.ok) throw new Error(body.error)
  return body
}

async function call(path, options) {
  let response
  try {
    response = await fetch(path, options)
  } catch {
    throw new Error('The server does not answer: zoo demo has ended. Start it again, and reload this page.')
  }
  return answered(response)
}

export const get = path => call(path)

export const post = (path, body) =>
  call(path, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body) })

export const upload = (path, file) => call(path, { method: 'POST', body: file })

// Run an asynchronous job one at a time; of the calls that arrive meanwhile, only the last one is kept.
export function latest(job) {
  let running = false
  let next = null
  return async function run(...values) {
    next = values
    if (running) return
    running = true
    while (next) {
      const now = next
      next = null
      await job(...now)
    }
    running = false
  }
}
