// SPDX-License-Identifier: Apache-2.0
// DNS messages in a byte stream: two octets of length before each (RFC 1035 §4.2.2, RFC 7766 §8).

/** Collects chunks; hands out whole messages. */
export class FrameReader {
  #chunks: Buffer[] = [];
  #length = 0;

  get hasPartial(): boolean {
    return this.#length > 0;
  }

  push(chunk: Buffer, onMessage: (message: Buffer) => void): void {
    this.#chunks.push(chunk);
    this.#length += chunk.length;
    if (this.#length < 2) return;
    // A message that comes in many small pieces must not be joined anew at each piece.
    const first = this.#chunks[0] as Buffer;
    if (first.length >= 2 && this.#length < 2 + first.readUInt16BE(0)) return;
    let bytes = this.#chunks.length === 1 ? first : Buffer.concat(this.#chunks, this.#length);
    while (bytes.length >= 2) {
      const end = 2 + bytes.readUInt16BE(0);
      if (bytes.length < end) break;
      onMessage(bytes.subarray(2, end));
      bytes = bytes.subarray(end);
    }
    this.#chunks = bytes.length > 0 ? [bytes] : [];
    this.#length = bytes.length;
  }
}

/** One buffer, so that length and message leave in one segment (RFC 7766 §8). */
export function frame(message: Buffer): Buffer {
  const out = Buffer.allocUnsafe(2 + message.length);
  out.writeUInt16BE(message.length, 0);
  message.copy(out, 2);
  return out;
}
