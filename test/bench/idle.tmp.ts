import { setTimeout as sleep } from 'node:timers/promises';
import { buildTools } from './tools.ts';
import { System } from './systems.ts';
import { packets } from './traffic.ts';
import { run } from '../helpers/processes.ts';
buildTools();
const s = await System.start('direct');
const cpu = async () =>
  (
    await run([
      'bash',
      '-c',
      'for p in /proc/[0-9]*; do if tr "\\0" " " < $p/cmdline 2>/dev/null | grep -q "lib/cli/main.js run"; then awk "{print \\$14, \\$15}" $p/stat; fi; done',
    ])
  ).stdout.trim();
try {
  await sleep(2000);
  console.log('idle before', await cpu());
  await sleep(10000);
  console.log('after 10 s idle', await cpu());
  for (let i = 0; i < 3; i++) await packets(s, 0);
  console.log(
    await s.rig.sh(
      'node',
      'curl -s http://127.0.0.1:9164/metrics | grep -E "^gate64_nat64_(sessions|sweep|map_entries|drops)|^process_cpu|^process_resident"',
    ),
  );
  console.log('loaded', await cpu());
  await sleep(10000);
  console.log('10 s idle with sessions', await cpu());
} finally {
  await s.rig[Symbol.asyncDispose]();
}
