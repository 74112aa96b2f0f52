import { create, toBinary } from "@bufbuild/protobuf";
import { UpdateProfileRequestSchema, UserService } from "#gen/lucky/user/v1/user_pb.js";
import type { Attack } from "../target/attack.ts";
import { logIn, registerUsers } from "../target/attack-user.ts";
import { inParallel } from "../target/loops.ts";
import { keepCalling } from "./socket-calls.ts";

const SESSIONS = 10;

export const profileFlood: Attack = {
  name: "profile-flood",
  summary: `${SESSIONS} sessions of one user change its profile, as fast as the server answers`,
  async prepare(target) {
    const [user] = await registerUsers(target, 1);
    const tokens: string[] = [];
    for (let nth = 0; nth < SESSIONS; nth++) tokens.push(await logIn(target, user!));
    const method = `${UserService.typeName}/UpdateProfile`;
    let changes = 0;
    const request = () => {
      const signature = `change ${changes++}`;
      return toBinary(
        UpdateProfileRequestSchema,
        create(UpdateProfileRequestSchema, { signature, displayName: signature }),
      );
    };
    return (signal) =>
      inParallel(SESSIONS, (nth) =>
        keepCalling(target, signal, { token: tokens[nth]!, method, request }),
      );
  },
};
