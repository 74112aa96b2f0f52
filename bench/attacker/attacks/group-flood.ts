import { create, toBinary } from "@bufbuild/protobuf";
import { CreateGroupRequestSchema, GroupService } from "#gen/lucky/group/v1/group_pb.js";
import type { Attack } from "../target/attack.ts";
import { logIn, registerUsers } from "../target/attack-user.ts";
import { keepCalling } from "./socket-calls.ts";

const STRANGERS = 20;

export const groupFlood: Attack = {
  name: "group-flood",
  summary: `one user creates groups with ${STRANGERS} strangers over a socket, as fast as the server answers`,
  async prepare(target) {
    const [user, ...strangers] = await registerUsers(target, 1 + STRANGERS);
    const token = await logIn(target, user!);
    const userIds = strangers.map(({ userId }) => userId);
    const message = create(CreateGroupRequestSchema, { name: "flood", userIds });
    const request = toBinary(CreateGroupRequestSchema, message);
    const method = `${GroupService.typeName}/CreateGroup`;
    return (signal) => keepCalling(target, signal, { token, method, request: () => request });
  },
};
