// SPDX-License-Identifier: Apache-2.0
// The shape of the configuration file: keys, types, defaults, bounds. Bounds of the timers: RFC 6146 §4, RFC 4787 REQ-5,
// RFC 5382 REQ-5, RFC 5508 REQ-2. What spans several keys is in rules.ts; schema.json is made from this.

import { z } from 'zod';
import { parseIp4Net, parseIp6Net } from '../addr/ip.ts';
import { parsePrefix64 } from '../addr/rfc6052.ts';
import { MAX_BLOCKS_PER_POD } from '../model/layout.gen.ts';
import { MAX_BLOCK_SIZE, MIN_BLOCK_SIZE } from './blocks.ts';
import { defaultPool, poolEntries } from './pool.ts';
import {
  CLIENTS_EXPECTED,
  MAX_INTERFACE_NAME,
  NAME_SOURCE_EXPECTED,
  POOL_ADDRESS_EXPECTED,
  PORTS_EXPECTED,
  UPSTREAM_EXPECTED,
  parseClients,
  parseInterfaceName,
  parseInterfacePattern,
  parseListen,
  parseNameSource,
  parsePoolAddress,
  parsePorts,
  parseTransport4,
  parseTransport6,
  parseUpstream,
} from './values.ts';

const MAX_WORKERS = 64;
const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error'] as const;
const LOG_FORMATS = ['auto', 'json', 'text'] as const;

/** Read by rules.ts too, where a key is left out. */
export const DEFAULTS = {
  prefix: '64:ff9b::/96',
  dnsListen: ['127.0.0.1:5364', '[::1]:5364'],
  httpListen: '127.0.0.1:9164',
};

/** Zod's message is always what was expected; problem.ts puts the value and "is not" before it. */
function expectation(text: string, error: unknown): string {
  const message = error instanceof Error ? error.message : String(error);
  const head = `"${text}" is not `;
  return message.startsWith(head) ? message.slice(head.length) : message;
}

function parsed<In extends string | number, Out>(type: z.ZodType<In, In>, parse: (value: In) => Out) {
  return type.transform((value, context) => {
    try {
      return parse(value);
    } catch (error) {
      context.issues.push({ code: 'custom', message: expectation(String(value), error), input: value });
      return z.NEVER;
    }
  });
}

const text = (expected: string) => z.string({ error: expected });
const bool = () => z.boolean({ error: 'true or false' });
const oneOf = <const T extends readonly string[]>(values: T) => z.enum(values, { error: values.join(' or ') });
const list = <T extends z.ZodType>(element: T, of: string) => z.array(element, { error: `a list of ${of}` });

function oneOrMore<T extends z.ZodType>(element: T, expected: string) {
  const many = z.array(element, { error: expected }).min(1, { error: `${expected}; a list must not be empty` });
  return z.union([element, many], { error: expected });
}

function whole(min: number, max: number, what = 'a whole number', why = '') {
  const error = `${what} from ${min}${why} to ${max}`;
  return z.int({ error }).min(min, { error }).max(max, { error });
}

/** A number, or what gate64 finds fitting. */
function orAuto<T extends z.ZodType<number, number>>(type: T) {
  const error = 'a number, or auto';
  return z.union([z.literal('auto', { error }), type], { error }).default('auto');
}

/** RFC 9293 §3.7.1 has 536 for ends that announce nothing. */
const mssClamp = z
  .union([oneOf(['off', 'auto']), whole(536, 65_495)], { error: 'off, auto, or a number from 536 to 65495' })
  .default('off');

const MAX_TIMEOUT_SECONDS = 2_678_400;
const seconds = (min: number, why: string) => whole(min, MAX_TIMEOUT_SECONDS, 'a number of seconds', why);

const ip4Net = parsed(text('an IPv4 network such as 192.0.2.0/24'), parseIp4Net);
const ip6Net = parsed(text('an IPv6 network such as 2001:db8::/32'), parseIp6Net);
const listen = parsed(text('an address with a port such as 127.0.0.1:5364'), parseListen);
const clients = parsed(text(CLIENTS_EXPECTED), parseClients);
const hostName = text('a host name such as gate64.example').regex(/^[a-z0-9_]([a-z0-9_.-]{0,252})$/i, {
  error: 'a host name such as gate64.example',
});
const nameSource = parsed(text(NAME_SOURCE_EXPECTED), parseNameSource);
const prefix = parsed(text('a translation prefix such as 64:ff9b::/96'), parsePrefix64);

const LOG_FILE_EXPECTED = 'the absolute path of a file';

const TRANSLATOR = 'translator';
const ERROR_SOURCES_EXPECTED = '"translator", or a prefix such as 2001:db8:ee::/96';
const errorSources = parsed(text(ERROR_SOURCES_EXPECTED), (value) =>
  value === TRANSLATOR ? TRANSLATOR : parsePrefix64(value),
).prefault(TRANSLATOR);

export const poolAddress = parsed(text(POOL_ADDRESS_EXPECTED), parsePoolAddress);
export const poolPorts = parsed(z.union([z.string(), z.int()], { error: PORTS_EXPECTED }), parsePorts);
export const transport6 = parsed(text('an IPv6 address with a port such as [2001:db8::5]:80'), parseTransport6);
export const transport4 = parsed(text('an IPv4 address with a port such as 192.0.2.2:8080'), parseTransport4);
export const upstream = parsed(text(UPSTREAM_EXPECTED), parseUpstream);
export const blockSize = whole(MIN_BLOCK_SIZE, MAX_BLOCK_SIZE, 'a power of two').refine(
  (size) => (size & (size - 1)) === 0,
  {
    error: `a power of two from ${MIN_BLOCK_SIZE} to ${MAX_BLOCK_SIZE}`,
  },
);
export { listen as listenAddress, prefix as translationPrefix };

const section = <T extends z.ZodRawShape>(shape: T) => z.strictObject(shape, { error: 'a mapping of keys' });

const poolEntry = section({
  addresses: oneOrMore(poolAddress, POOL_ADDRESS_EXPECTED + ', or a list of these').describe(
    'One address, a network or a list of these; with egress "direct" also "uplink", the uplink\'s own address.',
  ),
  ports: oneOrMore(poolPorts, PORTS_EXPECTED + ', or a list of these')
    .optional()
    .describe(
      'The ports that gate64 may use of these addresses: one, a range or a list; default 1024-65535, or 61001-65535 of an address that the node itself uses.',
    ),
}).transform(({ addresses, ports }) =>
  poolEntries([addresses].flat(), ports === undefined ? undefined : [ports].flat()),
);

const staticBinding = section({
  protocol: oneOf(['tcp', 'udp', 'icmp']).describe('What the binding carries.'),
  ipv6: transport6.describe("The pod's address and port; for icmp the identifier."),
  ipv4: transport4.describe('The pool address and port it is reached at; for icmp the identifier.'),
}).transform(({ protocol, ipv6, ipv4 }) => ({ protocol, source: ipv6, pool: ipv4 }));

/** The file; what comes out is the configuration as the rest of gate64 has it. */
export const configSchema = section({
  prefix: oneOrMore(prefix, 'a translation prefix such as 64:ff9b::/96, or a list of these')
    .prefault(DEFAULTS.prefix)
    .describe(
      'The IPv6 prefix that IPv4 addresses are embedded in, or a list; names are synthesized with each, in this order.',
    ),
  dns: section({
    enabled: bool().default(true).describe('Whether the DNS64 forwarder runs.'),
    listen: list(listen, 'addresses with ports')
      .min(1, { error: 'a list with an address in it; to switch the DNS half off, set dns.enabled to false' })
      .prefault(DEFAULTS.dnsListen)
      .describe('Where it is asked, by UDP and TCP each.'),
    listener: oneOf(['auto', 'batched', 'dgram'])
      .default('auto')
      .describe(
        "How datagrams are taken: batched is many a system call, dgram Node.js's own sockets, one at a time; auto is batched where native code for it can be loaded. Fixed while the service runs.",
      ),
    kernelCache: bool()
      .default(true)
      .describe(
        'Whether the kernel gives answers that are asked for again and again, to clients that have had them before; where Linux is 6.6 or newer, the process may load programs, and datagrams are taken batched. Fixed while the service runs.',
      ),
    workers: z
      .union([z.literal('auto'), whole(1, MAX_WORKERS)], { error: `a number from 1 to ${MAX_WORKERS}, or auto` })
      .default(1)
      .describe(
        'Processes that answer names; "auto": as many as there are processors, with nat64.admit "dns" one. Above 1 each has a cache and connections of its own, and the kernel gives no answers (dns.kernelCache). Fixed while the service runs.',
      ),
    allowClients: list(clients, '"local" and networks')
      .min(1, { error: 'a list with a network in it' })
      .prefault(['local'])
      .describe(
        'Who may ask, others are refused. "local": loopback, private, shared (100.64.0.0/10), link-local and unique-local addresses, and the networks that the host is in or has a route to other than its default one, as they are at the time; clients with other addresses have to be named. Anyone: 0.0.0.0/0 and ::/0.',
      ),
    upstreams: list(upstream, 'upstream addresses')
      .prefault([])
      .describe('The resolvers it asks; empty: the nameservers of /etc/resolv.conf.'),
    tls: section({
      ca: text('the path of a PEM file')
        .default('')
        .describe(
          'A PEM file of authorities that tls:// upstreams are believed by, beside those of the system and of Node.js; empty: none.',
        ),
    }).prefault({}),
    translateAll: bool().default(false).describe('Whether names that have AAAA records are synthesized all the same.'),
    excludeAaaa: list(ip6Net, 'IPv6 networks')
      .prefault(['::ffff:0:0/96'])
      .describe('AAAA records in these networks count as absent (RFC 6147 5.1.4).'),
    ignoreChecking: bool()
      .default(false)
      .describe(
        'Whether names are synthesized for queries with CD=1 too, as a validating resolver in front sends them. It costs that resolver its validation of AAAA: it must not validate itself, or takes what is synthesized in signed zones for forged (RFC 6147 5.5); the upstreams validate in its place, if they do.',
      ),
    maxRate: whole(0, 1_000_000)
      .default(200)
      .describe(
        'Answers by UDP a second for a network (IPv4 /24, IPv6 /56) of clients that are not local; beyond it every second one is empty and sends the client to TCP, the others are dropped. 0: no limit. Local ones, as dns.allowClients has them, are never limited.',
      ),
    maxUdpSize: whole(512, 4096)
      .default(1232)
      .describe(
        'Octets of an answer by UDP at most, whatever a client says it takes; a larger one is asked for again by TCP. Above 1232 it may be fragmented, and lost where fragments are dropped.',
      ),
    cache: section({
      maxEntries: whole(0, 10_000_000)
        .default(20_000)
        .describe('Answers the cache holds at most, in each process that answers (dns.workers); 0 switches it off.'),
      maxBytes: whole(0, 1_099_511_627_776)
        .default(33_554_432)
        .describe(
          'Octets of memory that they take at most, with what manages them, in each process that answers (dns.workers); those used least recently go first.',
        ),
    }).prefault({}),
  }).prefault({}),
  nat64: section({
    enabled: bool().default(true).describe('Whether the NAT64 runs.'),
    device: parsed(text('the name of a network interface'), (value) =>
      parseInterfaceName(value, MAX_INTERFACE_NAME - 1, ' (its peer takes one more)'),
    )
      .prefault('gate64')
      .describe('The name of the network device that gate64 makes; its peer has an "x" appended.'),
    egress: oneOf(['masquerade', 'direct'])
      .default('masquerade')
      .describe("How packets leave: through the host's masquerading, or straight out of the uplink."),
    uplink: parsed(text('"auto" or the name of a network interface'), (value) =>
      parseInterfaceName(value, MAX_INTERFACE_NAME),
    )
      .prefault('auto')
      .describe('The interface that leads to the IPv4 internet; "auto": that of the IPv4 default route.'),
    pool: list(poolEntry, 'pool entries with "addresses" and "ports"')
      .min(1, { error: 'a list with an entry in it; leave nat64.pool out for the default' })
      .optional()
      .describe(
        'The IPv4 addresses and ports that pods appear as; default 192.0.0.0/29, or "uplink" with egress "direct".',
      ),
    blockSize: orAuto(blockSize).describe(
      'Ports a pod leases at once; "auto": 256, fewer where the pool has not many ports, more where it has very many.',
    ),
    maxSessions: whole(64, 16_777_216)
      .default(1_048_576)
      .describe('Sessions the table holds at most; its memory is taken as they come.'),
    maxBlocksPerPod: orAuto(whole(1, MAX_BLOCKS_PER_POD)).describe(
      'Blocks of ports that one pod (one IPv6 address) may hold; "auto": a sixteenth of the pool, 64 at least.',
    ),
    maxSessionsPerPod: whole(16, 16_777_216)
      .default(65_536)
      .describe('Sessions that one pod (one IPv6 address) may begin, and as many that others may begin with it.'),
    destinations: list(ip4Net, 'IPv4 networks')
      .prefault([])
      .describe(
        "IPv4 networks that are translated here; empty: all. Only their part of the prefix is routed to gate64's device, the rest goes the node's way, to another NAT64 for example. Names are synthesized for all.",
      ),
    lowestIpv6Mtu: whole(1280, 9000)
      .default(1280)
      .describe('IPv4 packets that may be fragmented become IPv6 packets of this size at most (RFC 7915 4.1).'),
    mssClamp: mssClamp.describe(
      'The MSS that TCP connections announce at most, either way: a number, or "auto" for what the two routes take, that to the pod and that to the IPv4 server (the MTU of the interface, or that of a route with `mtu lock`). Right where a hop beyond drops what is too large and says nothing (a PPPoE line, a tunnel). An MSS is lowered, never raised and never added.',
    ),
    filtering: oneOf(['addressDependent', 'endpointIndependent'])
      .default('addressDependent')
      .describe("Who may write to a pod's port: those the pod wrote to, or everybody (RFC 6146 3.5)."),
    allowNonGlobalIpv4: list(ip4Net, 'IPv4 networks')
      .prefault([])
      .describe('IPv4 networks that are reached although the built-in list refuses them.'),
    deny: list(ip4Net, 'IPv4 networks').prefault([]).describe('IPv4 networks that are refused.'),
    allowNodeAddresses: list(ip4Net, 'IPv4 networks')
      .prefault([])
      .describe(
        "Addresses of this node (a VIP, one with a hostPort) that pods may reach all the same, with egress masquerade. Dangerous: every port of them is open to every pod, the kubelet's, those of host-network pods and of agents that give out credentials included, and the node's firewall sees an address of the pool instead of the pod's. Broadcast addresses, and what deny has, stay refused.",
      ),
    accelerate: list(
      parsed(text('a pattern of names of network interfaces'), parseInterfacePattern),
      'patterns of names of network interfaces',
    )
      .prefault([])
      .describe(
        "Interfaces of pods, by name with * for any characters (cali*, lxc*), where packets of established sessions are translated before the node's own forwarding, with egress direct. The node's firewall sees a flow's first and last packets and one a second. Empty: none.",
      ),
    allowSources: list(ip6Net, 'IPv6 networks')
      .prefault([])
      .describe(
        'IPv6 networks that may use the gateway, wherever they come from; empty: all that do not arrive from the uplink.',
      ),
    podPrefixLength: whole(32, 128)
      .default(128)
      .describe(
        'What counts as one pod for quotas and blocks of ports: the addresses that agree in so many bits. 64 where a pod has a whole /64.',
      ),
    checkSources: oneOf(['loose', 'strict', 'off'])
      .default('loose')
      .describe(
        'Which sources are believed. loose: those that the node has a route back to, other than outside by an uplink that the packet did not come by. strict: those whose route back leads where the packet came from, right where each pod has an interface or a bridge with routes of its own; not with Cilium, whose routes lead by cilium_host. off: all.',
      ),
    errorSources: errorSources.describe(
      'The sources of ICMP errors of IPv4 routers that the translation prefix may not show, those of private networks under 64:ff9b::/96: "translator", one address of gate64 that stands for them all (RFC 6791), or a prefix that they are embedded in, a /96 of one\'s own for example.',
    ),
    inboundRefresh: oneOf(['bounded', 'always', 'never'])
      .default('bounded')
      .describe(
        "Whether packets from outside alone keep a session (RFC 4787 REQ-6). bounded: for one lifetime more after the pod's last packet, so that nobody outside holds a dead pod's ports for the next pod with its address.",
      ),
    admit: oneOf(['all', 'dns'])
      .default('all')
      .describe(
        "Where pods may begin sessions: with all destinations, or with those alone that the DNS64 of this node has answered names with, for the answer's TTL and admitGrace. dns: IPv4 addresses written out and those that other resolvers answer with are refused. Running sessions and static bindings are not concerned.",
      ),
    admitGrace: whole(0, 86_400, 'a number of seconds')
      .default(300)
      .describe('How long after its TTL an answer of this DNS64 still admits, in seconds.'),
    endDeniedSessions: bool()
      .default(true)
      .describe(
        'Whether running sessions end within seconds when deny, allowSources, allowNonGlobalIpv4 or the addresses of the node and the pool come to refuse them; their packets pass until then. false: they run on, new ones are refused.',
      ),
    bindingLog: parsed(text(LOG_FILE_EXPECTED), (value) => {
      if (value !== '' && !value.startsWith('/')) throw new Error(LOG_FILE_EXPECTED);
      return value;
    })
      .prefault('')
      .describe(
        'A file that says which pod had which ports of which pool address, from when to when, for those who have to answer for it (RFC 6888 4): a line of JSON when a block of ports or a static binding begins, one when it ends, no destination. SIGHUP opens it anew. Empty: none.',
      ),
    static: list(staticBinding, 'static bindings with "protocol", "ipv6" and "ipv4"')
      .prefault([])
      .describe('Pod ports that are reached from outside at a fixed pool port.'),
    timeouts: section({
      udp: seconds(120, ' (RFC 4787 REQ-5)').default(300).describe('An idle UDP session ends after this.'),
      tcpEstablished: seconds(7200, ' (RFC 5382 REQ-5)')
        .default(7200)
        .describe('A TCP connection idle for so long is probed and ends tcpTransitory later, unless its pod answers.'),
      tcpTransitory: seconds(1, '')
        .default(240)
        .describe('A TCP connection that opens, or does not answer any more, ends after this.'),
      tcpClosing: seconds(1, '')
        .default(240)
        .describe('A TCP connection that was closed or reset gives its port back after this (RFC 7857 2.1).'),
      tcpIncomingSyn: seconds(6, ' (RFC 6146 4)')
        .default(6)
        .describe(
          'A TCP connection from outside that nobody asked for is refused after this, unless the pod opens it too.',
        ),
      icmp: seconds(60, ' (RFC 5508 REQ-2)').default(60).describe('An idle ICMP echo session ends after this.'),
      fragment: seconds(2, ' (RFC 6146 4)').default(2).describe('How long fragments of a packet are waited for.'),
    }).prefault({}),
  })
    .transform((nat64) => ({ ...nat64, pool: nat64.pool?.flat() ?? defaultPool(nat64.egress) }))
    .prefault({}),
  http: section({
    listen: listen
      .prefault(DEFAULTS.httpListen)
      .describe('Where /metrics, /healthz, /readyz, /status and, as http.page says, the page at / are served.'),
    page: z
      .union([z.literal('auto'), z.boolean()], { error: 'true, false or auto' })
      .default('auto')
      .describe(
        'Whether the page at / and its /page.json are served. They show pods and the names they asked for, to whoever reaches http.listen: "auto" serves them where that is a loopback address.',
      ),
    pageHosts: list(hostName, 'host names')
      .prefault([])
      .describe(
        'Host names at which the page is shown, beside IP addresses and localhost; others are refused, so that no web site can read it through a browser (DNS rebinding).',
      ),
  }).prefault({}),
  telemetry: section({
    namesInMetrics: whole(0, 1000)
      .default(0)
      .describe(
        'For how many names, those that carried most, /metrics has bytes and sessions; 0: none. Whoever reads them learns what pods ask for.',
      ),
    shareNames: bool()
      .default(false)
      .describe(
        'Whether /names at http.listen tells NAT64s elsewhere which names this DNS64 answered with which addresses: those that show the token (namesToken). Without a token nobody is told.',
      ),
    namesFrom: list(nameSource, 'host names or addresses with ports')
      .prefault([])
      .describe(
        'The DNS64s elsewhere, by their http.listen, that names for `sessions`, `top` and `report` come from, every five seconds; a host name stands for all its addresses. Without a token none is asked. They admit nobody (nat64.admit).',
      ),
    namesToken: text(LOG_FILE_EXPECTED)
      .regex(/^\//, { error: LOG_FILE_EXPECTED })
      .default('/etc/gate64-names/token')
      .describe('The file of the secret that both have, shareNames and namesFrom; read anew each time it is needed.'),
  }).prefault({}),
  kubernetes: section({
    events: oneOf(['auto', 'off'])
      .default('auto')
      .describe(
        'Whether a refused configuration, an exhausted pool, not ready and ready again are written as events of Kubernetes: "auto" does so where a token of a service account is mounted, which the manifests do only when asked to; "off" never.',
      ),
  }).prefault({}),
  log: section({
    level: oneOf(LOG_LEVELS).default('info').describe('The least important messages that are written.'),
    format: oneOf(LOG_FORMATS).default('auto').describe('json, text, or text on a terminal and json elsewhere.'),
  }).prefault({}),
}).transform(({ prefix: prefixes, ...rest }) => ({ ...rest, prefixes: [prefixes].flat() }));

/** What editors check the file with; published as schema.json beside this file. */
export function jsonSchema(): Record<string, unknown> {
  const made = z.toJSONSchema(configSchema, { io: 'input', target: 'draft-2020-12' });
  return { ...made, title: 'gate64 configuration' };
}
