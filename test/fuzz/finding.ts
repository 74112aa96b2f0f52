/** A fault of the server. */
export class Finding extends Error {
  override readonly name = "Finding";
}

/** How long a server may take to react to an input, ms. It reacts within milliseconds. */
const REACTION_MS = 30_000;

/** The result of `reaction`. Throws a Finding when it takes too long. */
export async function within<T>(reaction: Promise<T>, what: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    const finding = new Finding(`no reaction within ${REACTION_MS} ms to ${what}`);
    timer = setTimeout(() => reject(finding), REACTION_MS);
  });
  try {
    return await Promise.race([reaction, late]);
  } finally {
    clearTimeout(timer);
  }
}

const INTERNAL =
  /HTTP\/1\.[01] 50[02]|"code":"(?:internal|unknown|data_loss)"|grpc-status: ?(?:2|13|15)\r\n|ERROR_REASON_INTERNAL/;

/** Throws a Finding when an answer blames the server. */
export function requireNoInternal(answer: string, input: string): void {
  const found = INTERNAL.exec(answer);
  if (!found) return;
  const around = answer.slice(Math.max(0, found.index - 100), found.index + 300);
  throw new Finding(`an INTERNAL answer to ${input.slice(0, 500)}: ${around}`);
}
