// SPDX-License-Identifier: Apache-2.0
// What this room offers.

export { ConnectedSocket, type ConnectedSocketEvents, type ConnectedSocketOptions } from './connected-socket.ts';
export { DatagramSocket, type DatagramSocketOptions, type OnDatagram } from './datagram-socket.ts';
export { Datagram } from './datagram.ts';
