// SPDX-License-Identifier: Apache-2.0
// What `gate64` starts.

import { ProcessContext } from './context.ts';
import { runCli } from './program.ts';

process.exitCode = await runCli(process.argv.slice(2), new ProcessContext());
