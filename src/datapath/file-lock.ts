// SPDX-License-Identifier: Apache-2.0
// A lock on a file that ends with the process, for the one writer of the maps.

export { lockFile } from '../libbpf/mod.ts';
