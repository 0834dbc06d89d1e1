// SPDX-License-Identifier: Apache-2.0
// What this room needs of a logger; pino fits as it is.

export interface Log {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}
