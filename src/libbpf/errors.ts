// SPDX-License-Identifier: Apache-2.0
// What this binding throws: one base class, the verifier's refusal, and the missing-feature refusal.

import { constants } from 'node:os';
import { getSystemErrorMessage } from 'node:util';

const errnoNames = new Map<number, string>(Object.entries(constants.errno).map(([name, value]) => [value, name]));
// Kernel-internal number that leaks out of bpf(2); libc has no name for it.
errnoNames.set(524, 'ENOTSUPP');

// libbpf's own numbers (bpf/libbpf.h, enum libbpf_errno), given for files it cannot make sense of.
const libbpfErrors: ReadonlyMap<number, readonly [name: string, message: string]> = new Map([
  [4000, ['LIBBPF_LIBELF', 'libelf failed']],
  [4001, ['LIBBPF_FORMAT', 'not a BPF object file']],
  [4002, ['LIBBPF_KVERSION', 'wrong or missing kernel version in the object']],
  [4003, ['LIBBPF_ENDIAN', 'the object is of the other byte order']],
  [4004, ['LIBBPF_INTERNAL', 'internal error of libbpf']],
  [4005, ['LIBBPF_RELOC', 'relocation failed']],
  [4013, ['LIBBPF_NLPARSE', 'netlink answer not understood']],
]);

/** `EEXIST` for 17; `E<number>` for a number without a name. */
export function errnoName(errno: number): string {
  return errnoNames.get(errno) ?? libbpfErrors.get(errno)?.[0] ?? `E${errno}`;
}

/** The system's sentence for an errno, such as `file already exists`. */
export function errnoMessage(errno: number): string {
  if (errno === 524) return 'operation is not supported';
  return libbpfErrors.get(errno)?.[1] ?? getSystemErrorMessage(-errno);
}

export interface LibbpfErrorOptions extends ErrorOptions {
  /** Positive errno, 0 when the failure did not come from the kernel or libc. */
  errno?: number;
  /** libbpf's own warning lines printed during the call. */
  warnings?: readonly string[];
}

/**
 * Any failure of this library. `code` is stable: an errno name (`EEXIST`, `ENOENT`, `EPERM`, …) where the system
 * refused, or one of `LIBBPF_MISSING` (shared library not found), `LIBBPF_NOT_FOUND` (no such map, program, variable),
 * `LIBBPF_STATE` (too early, too late, closed), `LIBBPF_WRONG_KIND` (pinned object of another kind),
 * `LIBBPF_LOAD` and `LIBBPF_UNSUPPORTED` (the subclasses), or libbpf's own (`LIBBPF_FORMAT`: no BPF object file, …).
 */
export class LibbpfError extends Error {
  override name = 'LibbpfError';
  readonly code: string;
  readonly errno: number;
  readonly warnings: readonly string[];

  constructor(code: string, message: string, options: LibbpfErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.errno = options.errno ?? 0;
    this.warnings = options.warnings ?? [];
  }
}

/** Makes the error of a failed system or libbpf call; `errno` may have either sign. */
export function systemError(operation: string, errno: number, warnings: readonly string[] = []): LibbpfError {
  const positive = Math.abs(errno);
  const lines = warnings.length > 0 ? `\n${warnings.join('\n')}` : '';
  const name = errnoName(positive);
  return new LibbpfError(name, `${operation}: ${errnoMessage(positive)} (${name})${lines}`, {
    errno: positive,
    warnings,
  });
}

/** The kernel or libbpf refused to load an object. */
export class BpfLoadError extends LibbpfError {
  override name = 'BpfLoadError';
  /** Program the verifier refused; undefined when a map or the BTF failed. */
  readonly program: string | undefined;
  /** Last lines of the verifier's log, the ones that name the reason. */
  readonly verifierTail: string;
  readonly verifierLog: string;

  constructor(
    object: string,
    detail: { errno: number; program: string | undefined; verifierLog: string; warnings: readonly string[] },
  ) {
    const tail = tailOf(detail.verifierLog, 12);
    const what = detail.program === undefined ? `object ${object}` : `program ${detail.program} of object ${object}`;
    const words = tail === '' ? detail.warnings.join('\n') : tail;
    super(
      'LIBBPF_LOAD',
      `cannot load ${what}: ${errnoMessage(detail.errno)} (${errnoName(detail.errno)})${words === '' ? '' : `\n${words}`}`,
      { errno: detail.errno, warnings: detail.warnings },
    );
    this.program = detail.program;
    this.verifierLog = detail.verifierLog;
    this.verifierTail = tail;
  }
}

/** The running kernel (or libbpf) lacks something; names what would have it. */
export class UnsupportedFeatureError extends LibbpfError {
  override name = 'UnsupportedFeatureError';
  readonly feature: string;
  readonly minimumKernel: string;

  constructor(feature: string, minimumKernel: string, options: LibbpfErrorOptions = {}) {
    super('LIBBPF_UNSUPPORTED', `this kernel has no ${feature}: Linux ${minimumKernel} or newer is needed`, options);
    this.feature = feature;
    this.minimumKernel = minimumKernel;
  }
}

function tailOf(text: string, lines: number): string {
  return text.trimEnd().split('\n').slice(-lines).join('\n');
}
