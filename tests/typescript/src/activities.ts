import { ApplicationFailure, Context } from '@temporalio/activity';

export async function shoutInTypeScript(text: string): Promise<string> {
  return `${text.toUpperCase()}!`;
}

/** Fails once, so that its second attempt is seen to come from the server. */
export async function secondTimeLucky(): Promise<number> {
  const { attempt } = Context.current().info;
  if (attempt === 1) throw ApplicationFailure.create({ message: 'not yet', type: 'NotYet' });
  return attempt;
}
