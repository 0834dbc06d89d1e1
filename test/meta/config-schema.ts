// SPDX-License-Identifier: Apache-2.0
// `node test/meta/config-schema.ts`: writes src/config/schema.json, the JSON schema that editors check the file with.

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { jsonSchema } from '../../src/config/schema.ts';
import { format } from 'prettier';
import { ROOT } from './repository.ts';

export const SCHEMA_FILE = 'src/config/schema.json';

export function schemaText(): Promise<string> {
  return format(JSON.stringify(jsonSchema()), { parser: 'json', printWidth: 120 });
}

if (import.meta.main) writeFileSync(join(ROOT, SCHEMA_FILE), await schemaText());
