import { condition, defineQuery, defineSignal, defineUpdate, proxyActivities, setHandler, sleep } from '@temporalio/workflow';

interface PythonActivities {
  greet_in_python(name: string): Promise<string>;
}

const { greet_in_python } = proxyActivities<PythonActivities>({ startToCloseTimeout: '30s', retry: { maximumAttempts: 3 } });

export const approve = defineSignal<[string]>('approve');
export const state = defineQuery<string>('state');
export const rename = defineUpdate<string, [string]>('rename');

/** Waits for an approval, then has a Python worker of its own queue greet. */
export async function greetWhenApproved(name: string): Promise<string> {
  let approver = '';
  let current = name;
  setHandler(approve, (who) => {
    approver = who;
  });
  setHandler(state, () => (approver === '' ? 'waiting' : 'approved'));
  setHandler(rename, (to) => {
    const before = current;
    current = to;
    return before;
  });
  await condition(() => approver !== '');
  await sleep(10);
  return `${await greet_in_python(current)}, approved by ${approver}`;
}
