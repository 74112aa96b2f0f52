import { people, type Reachable } from "../world/people.ts";
import type { CanaryActions } from "./canary.ts";

/** The devices of a canary. */
export interface CanaryDevices extends CanaryActions {
  close(): Promise<void>;
}

/** Registers two users and opens a session for each, through the gateway. */
export async function connectCanary(world: Reachable): Promise<CanaryDevices> {
  const [ana, ben] = await people(world, "canary-ana", "canary-ben");
  const [sender, receiver] = await Promise.all([ana!.clientDevice(), ben!.clientDevice()]);
  await Promise.all([sender.client.connect(), receiver.client.connect()]);
  return {
    send: (text) => sender.client.send({ userId: ben!.userId }, text),
    getUser: () => sender.client.users.getUser({ key: { case: "userId", value: ben!.userId } }),
    onText(arrived) {
      receiver.client.on("message", ({ content }) => {
        if (content?.kind.case === "text") arrived(content.kind.value.text);
      });
    },
    async close() {
      await Promise.all([ana!.closeDevices(), ben!.closeDevices()]);
    },
  };
}
