// SPDX-License-Identifier: Apache-2.0
// What the service loads of Node.

import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { expect } from 'chai';

describe('service', () => {
  it('does not load undici, which takes 12 MiB', () => {
    const service = join(import.meta.dirname, '../../../src/service.ts');
    const program = `await import(${JSON.stringify(service)}); console.log(process.moduleLoadList.join('\\n'))`;
    const loaded = execFileSync(process.execPath, ['--input-type=module', '--eval', program], { encoding: 'utf8' });
    expect(loaded).to.include('NativeModule _http_server').and.not.include('undici/undici');
  });
});
