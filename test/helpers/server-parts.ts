// SPDX-License-Identifier: Apache-2.0
// What runs on the IPv4 side of the topology: nginx, an authoritative DNS server, a UDP echo, iperf3.

import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { eventually, type Background } from './processes.ts';
import { NODE4, SERVER4, SERVER4_OTHER, type Namespace, type Topology } from './topology.ts';

/** Serves a folder by HTTP on every IPv4 address of the server. */
export async function startNginx(topology: Topology, root: string): Promise<Background> {
  const directory = join(topology.directory, 'nginx');
  mkdirSync(directory, { recursive: true });
  const paths = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
    .map((name) => `  ${name}_temp_path ${directory}/${name};`)
    .join('\n');
  const conf = join(directory, 'nginx.conf');
  writeFileSync(
    conf,
    `daemon off;
master_process off;
user root;
pid ${directory}/nginx.pid;
error_log stderr warn;
events { worker_connections 2048; }
http {
${paths}
  access_log off;
  sendfile on;
  server { listen 80 backlog=1024; root ${root}; }
}
`,
  );
  const nginx = topology.start('server', ['nginx', '-c', conf, '-p', directory, '-e', 'stderr']);
  await waitForTcp(topology, 'server', SERVER4, 80, nginx);
  return nginx;
}

/** The zone that the tests' names are in. */
export const ZONE = `$ORIGIN example.
$TTL 300
@          SOA   ns hostmaster 1 3600 600 86400 60
@          NS    ns
ns         A     ${SERVER4}
v4only     A     ${SERVER4}
other      A     ${SERVER4_OTHER}
files      A     ${SERVER4}
v6only     AAAA  2001:db8:f::80
both       A     ${SERVER4}
both       AAAA  2001:db8:f::80
alias      CNAME alias2
alias2     CNAME v4only
metadata   A     169.254.169.254
node       A     ${NODE4}
mixed      A     ${NODE4}
mixed      A     ${SERVER4}
short 1    A     ${SERVER4}
`;

/** An authoritative server for `example.` that answers nothing else (unbound with the zone as an auth-zone). */
export async function startDnsServer(topology: Topology, zone: string = ZONE): Promise<Background> {
  const directory = join(topology.directory, 'unbound');
  mkdirSync(directory, { recursive: true });
  const zoneFile = join(directory, 'example.zone');
  writeFileSync(zoneFile, zone);
  const conf = join(directory, 'unbound.conf');
  writeFileSync(
    conf,
    `server:
  interface: ${SERVER4}@53
  do-daemonize: no
  use-syslog: no
  log-replies: no
  verbosity: 0
  chroot: ""
  username: ""
  directory: "${directory}"
  pidfile: ""
  num-threads: 1
  module-config: "iterator"
  access-control: 0.0.0.0/0 allow
  local-zone: "." refuse
  local-zone: "example." transparent
auth-zone:
  name: "example."
  zonefile: "${zoneFile}"
  for-downstream: yes
  for-upstream: no
remote-control:
  control-enable: no
`,
  );
  const unbound = topology.start('server', ['unbound', '-d', '-c', conf]);
  await eventually(
    'the authoritative server answers',
    async () => {
      if (unbound.exitCode() !== undefined) throw new Error(unbound.log());
      const answer = await topology.sh('server', `dig +time=1 +tries=1 +short @${SERVER4} v4only.example A`);
      return answer === SERVER4 ? true : undefined;
    },
    10_000,
  );
  return unbound;
}

/** Sends every datagram back to where it came from. */
export async function startUdpEcho(topology: Topology, port = 7007): Promise<Background> {
  const echo = topology.start('server', [process.execPath, join(import.meta.dirname, 'udp-echo.ts'), String(port)]);
  await eventually('the UDP echo listens', () => {
    if (echo.exitCode() !== undefined) throw new Error(echo.log());
    return echo.log().includes('listening') ? true : undefined;
  });
  return echo;
}

export async function startIperf3(topology: Topology): Promise<Background> {
  const iperf = topology.start('server', ['iperf3', '--server', '--bind', SERVER4, '--interval', '0', '--forceflush']);
  await waitForTcp(topology, 'server', SERVER4, 5201, iperf);
  return iperf;
}

/** Waits until something listens; looks at the list of sockets, since a connection would be one more in the tables. */
export async function waitForTcp(
  topology: Topology,
  namespace: Namespace,
  address: string,
  port: number,
  program: Background,
): Promise<void> {
  await eventually(`${address}:${port} listens`, async () => {
    if (program.exitCode() !== undefined) throw new Error(program.log());
    const sockets = await topology.sh(namespace, `ss -Hltn 'sport = :${port}'`);
    return sockets === '' ? undefined : true;
  });
}
