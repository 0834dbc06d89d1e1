// SPDX-License-Identifier: Apache-2.0
// Hangs a TC program in front of all others, in the namespace that it runs in. Arguments: object, device, side, pin of the link.

import { BpfObject, TcxLink, ifNameToIndex, type Direction } from '../../src/libbpf/mod.ts';

const [file = '', device = '', side = '', pin = ''] = process.argv.slice(2);
using object = BpfObject.open(file).load();
using link = TcxLink.attach(object.program('ends_chain'), ifNameToIndex(device), side as Direction, { before: true });
link.pin(pin);
