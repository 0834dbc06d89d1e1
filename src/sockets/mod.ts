// SPDX-License-Identifier: Apache-2.0
// What this room offers.

export { DatagramSocket, type DatagramSocketOptions, type OnDatagram } from './datagram-socket.ts';
export { Datagram } from './datagram.ts';
