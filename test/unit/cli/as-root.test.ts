// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';
import { asRoot } from '../../../src/cli/as-root.ts';
import { Gate64Error } from '../../../src/errors.ts';

const errorOf = (error: Error): Promise<Error> =>
  asRoot('read the data plane', () => Promise.reject(error)).then(
    () => expect.fail('nothing was thrown'),
    (thrown: Error) => thrown,
  );
const system = (code: string) => Object.assign(new Error(code), { code });

describe('a command that needs rights', () => {
  it('says so when the kernel refused it, however deep the refusal lies', async () => {
    for (const error of [
      system('EPERM'),
      system('EACCES'),
      new Gate64Error('G64_DATAPATH_MAP', 'sessions', { cause: system('EPERM') }),
      new Gate64Error('G64_DATAPATH_LAYOUT', 'incomplete', { cause: new Error('open', { cause: system('EACCES') }) }),
      new Gate64Error('G64_HOST_COMMAND', '"nft list" failed: Operation not permitted (you must be root)'),
    ]) {
      expect(await errorOf(error), error.message).to.include({
        code: 'G64_NO_CAPABILITY',
        message: 'this user may not read the data plane',
      });
    }
  });

  it('says what else is wrong as it is, whoever asks', async () => {
    for (const error of [
      system('ENOENT'),
      new Gate64Error('G64_DATAPATH_LAYOUT', 'of another version'),
      new Gate64Error('G64_HOST_COMMAND', '"ip link" failed: Cannot find device'),
      new TypeError('a fault of ours'),
    ]) {
      expect(await errorOf(error)).to.equal(error);
    }
    expect(await asRoot('do it', () => 7)).to.equal(7);
  });
});
