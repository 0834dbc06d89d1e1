// SPDX-License-Identifier: Apache-2.0
// The counts of requests by transport and type, found without a key being made for each.

import type { Cell, Cells } from '../telemetry/cells.ts';
import type { Transport } from './observer.ts';

export class RequestCells {
  readonly #cells: Pick<Cells, 'cell'>;
  readonly #byType = { udp: new Map<string, Cell>(), tcp: new Map<string, Cell>() };

  constructor(cells: Pick<Cells, 'cell'>) {
    this.#cells = cells;
  }

  of(transport: Transport, type: string): Cell {
    const byType = this.#byType[transport];
    let cell = byType.get(type);
    if (cell === undefined) byType.set(type, (cell = this.#cells.cell(`${transport}\n${type}`)));
    return cell;
  }
}
