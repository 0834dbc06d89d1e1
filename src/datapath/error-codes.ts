// SPDX-License-Identifier: Apache-2.0
// Whatever fails inside the data plane leaves it with a code of gate64's.

import { Gate64Error, type ErrorCode } from '../errors.ts';

/** `error` as it is if it has a code of gate64's, else with `code` and as the cause. */
export function withCode(error: unknown, code: ErrorCode, what: string, hint?: string): Gate64Error {
  if (error instanceof Gate64Error) return error;
  const words = error instanceof Error ? error.message : String(error);
  return new Gate64Error(code, `${what}: ${words}`, { cause: error, ...(hint === undefined ? {} : { hint }) });
}

/** `target`, whose methods throw nothing but errors with codes: those of libbpf and of the kernel become G64_DATAPATH_MAP. */
export function guarded<T extends object>(target: T): T {
  return new Proxy(target, {
    get(real, name) {
      // With the object itself as `this`: private fields are not the proxy's.
      const value: unknown = Reflect.get(real, name, real);
      if (typeof value !== 'function') return value;
      return (...args: unknown[]): unknown => {
        try {
          return Reflect.apply(value, real, args);
        } catch (error) {
          throw withCode(error, 'G64_DATAPATH_MAP', `the data plane: ${String(name)}`);
        }
      };
    },
  });
}
