import { randomUUID } from "node:crypto";
import { AuthService } from "#gen/lucky/auth/v1/auth_pb.js";
import { sealPassword } from "../../../client/login/password.ts";
import type { Attack } from "../target/attack.ts";
import {
  type AttackUser,
  clientAt,
  logIn,
  refusalOf,
  registerUsers,
} from "../target/attack-user.ts";
import { inParallel, keepDoing } from "../target/loops.ts";
import type { Target } from "../target/target.ts";

/** Addresses of each kind, because each address has a small budget of credentials. */
const ADDRESSES = 8;
/** Characters that stand for several letters each, which multiplies the guesses of zxcvbn. */
const COSTLY = "4@8({[<3961!|70$5+7%2/\\".repeat(5);

export const costlyPasswords: Attack = {
  name: "costly-passwords",
  summary: `${2 * ADDRESSES} addresses register and change passwords that cost zxcvbn 100 ms`,
  async prepare(target) {
    const users = await registerUsers(target, ADDRESSES);
    const tokens: string[] = [];
    for (const user of users) tokens.push(await logIn(target, user));
    return (signal) =>
      Promise.all([
        inParallel(ADDRESSES, (nth) =>
          keepDoing(target, signal, () => register(target, `127.0.5.${1 + nth}`)),
        ),
        inParallel(ADDRESSES, (nth) => {
          const change = passwordChanges(target, {
            from: `127.0.6.${1 + nth}`,
            user: users[nth]!,
            token: tokens[nth]!,
          });
          return keepDoing(target, signal, change);
        }),
      ]);
  },
};

function costly(): string {
  return `${randomUUID().slice(0, 4)}${COSTLY}`;
}

async function register(target: Target, from: string): Promise<void> {
  const auth = clientAt(target, from, { service: AuthService });
  const userName = `costly-${randomUUID().slice(0, 8)}`;
  await counted(target, "register", async () => {
    const password = await sealPassword(await auth.getPublicKey({}), costly());
    await auth.register({ userName, password });
  });
}

/** Returns a function that changes the password of the user once more. */
function passwordChanges(
  target: Target,
  { from, user, token }: { from: string; user: AttackUser; token: string },
): () => Promise<void> {
  const auth = clientAt(target, from, { service: AuthService, token });
  let { password } = user;
  return () =>
    counted(target, "change", async () => {
      const key = await auth.getPublicKey({});
      const newPassword = costly();
      await auth.changePassword({
        oldPassword: await sealPassword(key, password),
        newPassword: await sealPassword(key, newPassword),
      });
      password = newPassword;
    });
}

async function counted({ tally }: Target, name: string, call: () => Promise<void>): Promise<void> {
  tally.add("calls");
  try {
    await call();
    tally.answered(`${name}: done`);
  } catch (error) {
    tally.answered(`${name}: ${refusalOf(error)}`);
  }
}
