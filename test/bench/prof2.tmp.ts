import { setTimeout as sleep } from 'node:timers/promises';
import { buildTools } from './tools.ts';
import { System, type SystemName } from './systems.ts';
import { packets, startServers } from './traffic.ts';
import { start } from '../helpers/processes.ts';
buildTools();
const [what, ...names] = process.argv.slice(2) as [string, ...SystemName[]];
for (const name of names) {
  const s = await System.start(name);
  try {
    await packets(s, Number(what));
    let go = true;
    const perf = start([
      'perf',
      'record',
      '-q',
      '-C',
      '1',
      '-F',
      '2999',
      '-e',
      'cpu-clock',
      '--call-graph',
      'fp',
      '-o',
      `/tmp/perf2-${name}-${what}.data`,
      '--',
      'sleep',
      '4',
    ]);
    void perf.ended.then(() => (go = false));
    const r = [];
    while (go) r.push(Math.round((await packets(s, Number(what))) / 1000));
    console.log(name, r.join(' '));
  } catch (e) {
    console.log(name, e);
  } finally {
    await s.rig[Symbol.asyncDispose]();
  }
}
