// SPDX-License-Identifier: Apache-2.0
// DNS messages in a byte stream: two octets of length before each (RFC 1035 §4.2.2, RFC 7766 §8).

const NOTHING = Buffer.alloc(0);
const SMALLEST_ROOM = 64;

/** Collects chunks; hands out whole messages. What it keeps is at most twice what has come. */
export class FrameReader {
  /** What has come and was not handed out is its first `#length` octets. */
  #bytes: Buffer = NOTHING;
  #length = 0;

  get hasPartial(): boolean {
    return this.#length > 0;
  }

  /** Octets of memory in use. */
  get kept(): number {
    return this.#bytes.length;
  }

  /**
   * Chunks become the reader's own. When `onMessage` says false the messages behind stay for the next call, which may bring
   * an empty chunk, and this says false too.
   */
  push(chunk: Buffer, onMessage: (message: Buffer) => unknown): boolean {
    if (this.#length === 0) {
      this.#bytes = chunk;
      this.#length = chunk.length;
    } else {
      this.#append(chunk);
    }
    let at = 0;
    let isWanted = true;
    while (isWanted && this.#length - at >= 2) {
      const end = at + 2 + this.#bytes.readUInt16BE(at);
      if (end > this.#length) break;
      isWanted = onMessage(this.#bytes.subarray(at + 2, end)) !== false;
      at = end;
    }
    this.#length -= at;
    if (this.#length === 0) this.#bytes = NOTHING;
    // Part of a message must not hold all that was before it.
    else if (isWanted && (at > 0 || this.#bytes === chunk)) this.#bytes = copyOf(this.#bytes, at, this.#length);
    else if (at > 0) this.#bytes = this.#bytes.subarray(at);
    return isWanted;
  }

  /** A message that comes in many small pieces is not joined anew at each, and no piece is kept as an object. */
  #append(chunk: Buffer): void {
    const length = this.#length + chunk.length;
    if (length > this.#bytes.length) {
      const grown = Buffer.allocUnsafeSlow(Math.max(length, Math.min(2 * this.#length, 2 + 65535), SMALLEST_ROOM));
      this.#bytes.copy(grown, 0, 0, this.#length);
      this.#bytes = grown;
    }
    chunk.copy(this.#bytes, this.#length);
    this.#length = length;
  }
}

function copyOf(bytes: Buffer, at: number, length: number): Buffer {
  const copy = Buffer.allocUnsafeSlow(Math.max(length, SMALLEST_ROOM));
  bytes.copy(copy, 0, at, at + length);
  return copy;
}

/** One buffer, so that length and message leave in one segment (RFC 7766 §8). */
export function frame(message: Buffer): Buffer {
  const out = Buffer.allocUnsafe(2 + message.length);
  out.writeUInt16BE(message.length, 0);
  message.copy(out, 2);
  return out;
}
