import { deadlineSuite } from "./deadlines.suite.ts";
import { errorSuite } from "./errors.suite.ts";
import { observationSuite } from "./observation.suite.ts";
import { requestSuite } from "./requests.suite.ts";
import { streamEndSuite } from "./stream-ends.suite.ts";
import { streamSuite } from "./streams.suite.ts";
import { type Reach, startWith } from "./transport.fixture.ts";

/** The guarantees of a transport to clients, the same over the network and in the same process. */
export function transportSuite(name: string, reach: Reach): void {
  const start = startWith(reach);
  requestSuite(name, start);
  errorSuite(name, start);
  deadlineSuite(name, start);
  streamSuite(name, start);
  streamEndSuite(name, start);
  observationSuite(name, start);
}
