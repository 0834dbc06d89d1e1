// SPDX-License-Identifier: Apache-2.0
// Unbound in the foreground, of one thread, with nothing of the machine's.

import { writeFileSync } from 'node:fs';

/** Writes its configuration, `server` more of its server section and what follows; gives the command. */
export function unboundCommand(
  file: string,
  directory: string,
  server: string,
  control = '  control-enable: no',
): string[] {
  writeFileSync(
    file,
    `server:
  do-daemonize: no
  use-syslog: no
  verbosity: 0
  chroot: ""
  username: ""
  directory: "${directory}"
  pidfile: ""
  num-threads: 1
${server}
remote-control:
${control}
`,
  );
  return ['unbound', '-d', '-c', file];
}
