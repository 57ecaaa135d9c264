#!/usr/bin/env node
// The executable. Before anything else is loaded it turns on Node's compile cache, which keeps what type stripping and compiling made of
// each module: half of a start's work, and the stripper itself is not held in memory.
import { enableCompileCache, flushCompileCache } from 'node:module';
import { join } from 'node:path';
import { compileCacheFlushMs } from './constants.ts';

// Beside the code that it stands for: who may write there could change the code as well. Where it cannot be written, nothing is cached.
enableCompileCache(join(import.meta.dirname, '../../node_modules/.cache/meshgate'));
// The cache is written when a process ends; this is for those that are killed one day.
setTimeout(flushCompileCache, compileCacheFlushMs).unref();
const { makeObjectsYoung } = await import('#lib/heap.ts');
makeObjectsYoung();
const { runTool } = await import('./tool.ts');
await runTool();
