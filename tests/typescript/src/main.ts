/**
 * Two workers, until standard input ends: workflows on the queue "mixed", whose activities a Python worker runs, and activities on
 * "typescript". Each line of standard input is a workflow for the client to start: {"type", "taskQueue", "args", "id"}; its result is a
 * line on standard output.
 */
import * as readline from 'node:readline';
import { Client, Connection } from '@temporalio/client';
import { DefaultLogger, NativeConnection, Runtime, Worker } from '@temporalio/worker';
import * as activities from './activities';

interface Start {
  type: string;
  taskQueue: string;
  args: unknown[];
  id: string;
}

async function main(address: string): Promise<void> {
  Runtime.install({ logger: new DefaultLogger('ERROR') });
  const connection = await NativeConnection.connect({ address });
  const workers = [
    await Worker.create({ connection, taskQueue: 'mixed', workflowsPath: require.resolve('./workflows') }),
    await Worker.create({ connection, taskQueue: 'typescript', activities }),
  ];
  const running = Promise.all(workers.map((worker) => worker.run()));
  const client = new Client({ connection: await Connection.connect({ address }) });
  console.log('READY');
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const { type, taskQueue, args, id } = JSON.parse(line) as Start;
    const result = await client.workflow.execute(type, { taskQueue, args, workflowId: id });
    console.log(JSON.stringify(result));
  }
  for (const worker of workers) worker.shutdown();
  await running;
  await client.connection.close();
  await connection.close();
}

main(process.argv[2]).catch((error) => {
  console.error(error);
  process.exit(1);
});
