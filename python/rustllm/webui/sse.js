/**
 * Server-sent events out of a response's bytes.
 * @module
 */

/**
 * The data of each event, in order; comments are left out.
 * @param {ReadableStream<Uint8Array>} body
 * @returns {AsyncGenerator<string, void, void>}
 */
export async function* events(body) {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let rest = "";
  try {
    while (true) {
      const { done, value } = await reader.read();
      rest += decoder.decode(value, { stream: !done });
      const parts = rest.split(/\r?\n\r?\n/);
      rest = parts.pop() ?? "";
      for (const part of parts) {
        const data = dataOf(part);
        if (data !== null) yield data;
      }
      if (done) return;
    }
  } finally {
    // Leaving the loop closes the connection, which ends the work on the server.
    await reader.cancel().catch(() => {});
  }
}

/** @param {string} event @returns {string | null} */
function dataOf(event) {
  const lines = event.split(/\r?\n/).filter((line) => line.startsWith("data:"));
  return lines.length ? lines.map((line) => line.slice(5).replace(/^ /, "")).join("\n") : null;
}
