import { randomBytes, randomInt, randomUUID } from "node:crypto";
import { create, toBinary } from "@bufbuild/protobuf";
import { ConnectError } from "@connectrpc/connect";
import { AdminService } from "#gen/lucky/admin/v1/admin_pb.js";
import { AuthService, DeviceClass, SmsPurpose, type Tokens } from "#gen/lucky/auth/v1/auth_pb.js";
import { GroupService } from "#gen/lucky/group/v1/group_pb.js";
import { MessageService } from "#gen/lucky/message/v1/message_pb.js";
import {
  UpdateProfileRequestSchema,
  UserService,
  WhoMayAddMe,
} from "#gen/lucky/user/v1/user_pb.js";
import { sealPassword } from "../../client/login/password.ts";
import { randomPhoneNumber, type SmsGateway } from "../backends/sms-gateway.ts";
import { RawDevice } from "../devices/raw-device.ts";
import { clientOf, proofBy, type Reachable, text } from "../world/people.ts";

/** A unique value of a secret field, to be searched for in logs, errors and tables. */
export interface Secret {
  /** Name of the field, for the message of a failure. */
  readonly what: string;
  readonly value: string;
  /** Whether the database may hold it in plain text, as it holds messages. */
  readonly stored: boolean;
}

/** Calls of several users in which every secret field holds a canary: a unique value. */
export class CanaryTraffic {
  readonly secrets: Secret[] = [];
  /** Texts of the errors that the calls returned. */
  readonly errors: string[] = [];
  readonly #url: string;
  readonly #smsGateway: SmsGateway;

  constructor(world: Reachable, smsGateway: SmsGateway) {
    this.#url = world.url;
    this.#smsGateway = smsGateway;
  }

  /** Records a secret and returns it. */
  secret(what: string, value: string = randomUUID(), stored = false): string {
    this.secrets.push({ what, value, stored });
    return value;
  }

  /** Awaits a call and records the text of its error. Returns whether it succeeded. */
  async attempt(call: Promise<unknown>): Promise<boolean> {
    try {
      await call;
      return true;
    } catch (thrown) {
      const { rawMessage, metadata, details } = ConnectError.from(thrown);
      this.errors.push(`${rawMessage} ${JSON.stringify([...metadata])} ${JSON.stringify(details)}`);
      return false;
    }
  }

  /** Awaits a call that must fail, and records the text of its error. */
  async expectFailure(call: Promise<unknown>): Promise<void> {
    if (await this.attempt(call)) throw new Error("it should have failed");
  }

  auth(token?: string) {
    return clientOf(this.#url, AuthService, token);
  }

  users(token?: string) {
    return clientOf(this.#url, UserService, token);
  }

  /** Seals the passwords of one request under one key and nonce. */
  async seal(...passwords: string[]) {
    const key = await this.auth().getPublicKey({});
    return Promise.all(passwords.map((password) => sealPassword(key, password)));
  }

  async requestCode(phone: string, purpose: SmsPurpose, token?: string): Promise<string> {
    await this.auth(token).sendSmsCode({ phone, purpose });
    return this.secret(`code ${SmsPurpose[purpose]}`, await this.#smsGateway.codeSentTo(phone));
  }

  recordTokens(what: string, tokens: Tokens | undefined): Tokens {
    const { accessToken, refreshToken } = tokens!;
    // Header and claims of the access token are not secret; its signature is.
    this.secret(`${what}: signature of the access token`, accessToken.split(".")[2]!);
    this.secret(`${what}: refresh token`, refreshToken);
    return tokens!;
  }

  device() {
    return { deviceId: randomUUID(), deviceClass: DeviceClass.MOBILE, deviceName: "a phone" };
  }

  /** Registers by name and fills every field of the profile. */
  async register(name: string) {
    const password = this.secret("password");
    const userName = `${name}-${randomUUID().slice(0, 8)}`;
    const [sealed] = await this.seal(password);
    const { user } = await this.auth().register({ userName, password: sealed });
    const login = async (given: string) => {
      const [again] = await this.seal(given);
      return this.auth().login({ userName, password: again, device: this.device() });
    };
    await this.expectFailure(login(this.secret("wrong password")));
    const tokens = this.recordTokens("login", (await login(password)).tokens);
    const token = tokens.accessToken;
    const birthday = { year: randomInt(1_900, 2_000), month: 11, day: 23 };
    this.secret("birthday", `${birthday.year}-11-23`);
    await this.users(token).updateProfile({
      birthday,
      displayName: `${userName} herself`,
      avatar: `avatars/${userName}`,
      signature: `signed ${userName}`,
      location: this.secret("location"),
      whoMayAddMe: WhoMayAddMe.WITH_QUESTION,
      addQuestion: "Who?",
      addAnswer: this.secret("answer"),
      searchableByPhone: true,
    });
    return { userName, userId: user!.userId, password, tokens, token };
  }

  /** Registers a phone number, logs in by it and resets the password by it. */
  async registerByPhone() {
    const phone = this.secret("phone", randomPhoneNumber());
    const password = this.secret("password");
    const wrong = this.auth().loginBySmsCode({ phone, code: "000000", device: this.device() });
    await this.expectFailure(wrong);
    const code = await this.requestCode(phone, SmsPurpose.REGISTER);
    const [sealed] = await this.seal(password);
    const request = { phone, code, password: sealed, device: this.device() };
    const { tokens } = await this.auth().registerByPhone(request);
    this.recordTokens("registration by phone", tokens);
    const login = {
      phone,
      code: await this.requestCode(phone, SmsPurpose.LOGIN),
      device: this.device(),
    };
    this.recordTokens("login by phone", (await this.auth().loginBySmsCode(login)).tokens);
    await this.expectFailure(this.auth().loginBySmsCode(login));
    const [fresh] = await this.seal(this.secret("password by reset"));
    const reset = await this.requestCode(phone, SmsPurpose.RESET);
    await this.auth().resetPassword({ phone, code: reset, newPassword: fresh });
    return { phone };
  }

  /** Binds a phone number and changes the password. Returns the number. */
  async bindPhone(person: { token: string; password: string }) {
    const phone = this.secret("phone", randomPhoneNumber());
    const code = await this.requestCode(phone, SmsPurpose.BIND, person.token);
    const [password] = await this.seal(person.password);
    await this.auth(person.token).bindPhone({ phone, code, password });
    const changed = this.secret("password by change");
    const [oldPassword, newPassword] = await this.seal(person.password, changed);
    await this.auth(person.token).changePassword({ oldPassword, newPassword });
    return phone;
  }

  /** Refreshes, retries as after a lost answer, then presents a token that does not exist. */
  async refresh({ refreshToken }: Tokens) {
    this.recordTokens("refresh", (await this.auth().refresh({ refreshToken })).tokens);
    this.recordTokens("retried refresh", (await this.auth().refresh({ refreshToken })).tokens);
    const unknown = this.secret("unknown refresh token", randomBytes(32).toString("base64url"));
    await this.expectFailure(this.auth().refresh({ refreshToken: unknown }));
  }

  /** Logs another device in by a QR code, and keeps the login by the password. */
  async loginByQrCode({
    token,
    tokens,
    password,
  }: {
    token: string;
    tokens: Tokens;
    password: string;
  }) {
    const device = { ...this.device(), deviceClass: DeviceClass.WEB };
    const { qrLoginId, secret } = await this.auth().createQrLogin({ device });
    this.secret("id of the QR login", qrLoginId);
    this.secret("secret of the QR login", secret);
    const credentials = { qrLoginId, secret, deviceId: device.deviceId };
    await this.expectFailure(this.auth().getQrLogin({ ...credentials, deviceId: "another" }));
    await this.auth(token).scanQrLogin({ qrLoginId });
    const unknown = this.secret("unknown proof", randomBytes(32).toString("base64url"));
    const confirm = (refreshToken: string) =>
      this.auth(token).confirmQrLogin({ qrLoginId, proof: proofBy({ refreshToken }) });
    await this.expectFailure(confirm(unknown));
    await confirm(tokens.refreshToken);
    const { qrLogin } = await this.auth().getQrLogin(credentials);
    const { accessToken } = this.recordTokens("QR login", qrLogin?.tokens);
    const [sealed] = await this.seal(password);
    const proof = { kind: { case: "password", value: sealed! } } as const;
    await this.auth(accessToken).keepQrLogin({ proof });
  }

  /** Sends by RPC and over a socket; creates a group. */
  async sendMessages({ token }: { token: string }, to: { userId: string }) {
    const target = { case: "userId", value: to.userId } as const;
    const write = () => text(this.secret("message", randomUUID(), true));
    const send = { target, clientMessageId: randomUUID(), content: write() };
    await clientOf(this.#url, MessageService, token).send(send);
    const other = { ...send, content: write() };
    await this.expectFailure(clientOf(this.#url, MessageService, token).send(other));
    const groups = clientOf(this.#url, GroupService, token);
    await groups.createGroup({ name: "a group", userIds: [to.userId] });
    const device = await RawDevice.hello(this.#url, token);
    const clientMessageId = randomUUID();
    device.send({ case: "send", value: { target, clientMessageId, content: write() } });
    await device.next("sendResults");
    await device.close();
  }

  /**
   * An administrator sets a user's password and searches by number; the user deletes the account.
   */
  async runAdminActions(
    admin: { userName: string; password: string },
    person: { userName: string; userId: string },
    phone: string,
  ) {
    const login = async (userName: string, password: string) => {
      const [sealed] = await this.seal(password);
      const given = { userName, password: sealed, device: this.device() };
      return this.recordTokens(userName, (await this.auth().login(given)).tokens);
    };
    const tokens = await login(admin.userName, admin.password);
    const admins = clientOf(this.#url, AdminService, tokens.accessToken);
    const proof = proofBy(tokens);
    const { userId } = person;
    const password = this.secret("password by an administrator");
    const [weak] = await this.seal("short");
    const refused = { userId, newPassword: weak, reason: "a story", proof };
    await this.expectFailure(admins.setPassword(refused));
    const [newPassword] = await this.seal(password);
    await admins.setPassword({ userId, newPassword, reason: "a story", proof });
    await admins.findAccounts({ query: { case: "phone", value: phone } });
    const odd = this.secret("number of nobody", randomPhoneNumber());
    await admins.findAccounts({ query: { case: "phone", value: odd } });
    const own = this.auth((await login(person.userName, password)).accessToken);
    const [wrong, right] = [
      ...(await this.seal(this.secret("wrong password"))),
      ...(await this.seal(password)),
    ];
    await this.expectFailure(own.deleteAccount({ password: wrong }));
    await own.deleteAccount({ password: right });
  }

  /** Sends secrets over a socket: in calls that succeed, in calls that fail, and as bad tokens. */
  async callOverSocket({ token }: { token: string }) {
    const device = await RawDevice.hello(this.#url, token);
    const call = async (callId: string, name: string, request: Uint8Array) => {
      device.send({ case: "rpc", value: { callId, method: `lucky.${name}`, request } });
      const { outcome } = await device.next("rpcResult");
      if (outcome.case === "error") this.errors.push(outcome.value.text);
    };
    const profile = (location: string) =>
      toBinary(UpdateProfileRequestSchema, create(UpdateProfileRequestSchema, { location }));
    const method = "user.v1.UserService/UpdateProfile";
    await call("1", method, profile(this.secret("location")));
    await call("2", method, profile(this.secret("location that is too long").repeat(9)));
    await call("3", method, Buffer.from(this.secret("no request at all")));
    device.send({ case: "renew", value: { accessToken: this.secret("no token at all") } });
    this.errors.push((await device.closed).reason);
    const stranger = await RawDevice.open(this.#url);
    const hello = { accessToken: this.secret("no token in Hello"), clientVersion: "1" };
    stranger.send({ case: "hello", value: hello });
    this.errors.push((await stranger.closed).reason);
  }

  /** Sends requests that violate the contract, with secrets inside. */
  async sendInvalidRequests({ token }: { token: string }) {
    const users = this.users(token);
    const odd = this.secret("odd value");
    await this.expectFailure(users.updateProfile({ location: odd.repeat(3) }));
    await this.expectFailure(users.updateProfile({ addAnswer: `${odd}\u0000` }));
    await this.expectFailure(users.searchUsers({ query: { case: "phone", value: odd } }));
    await this.expectFailure(this.auth().refresh({ refreshToken: `${odd} ${odd}` }));
    await this.expectFailure(this.auth(odd).logout({}));
    const phone = this.secret("number that there is not", "+4930987654321098");
    await this.expectFailure(this.auth().sendSmsCode({ phone, purpose: SmsPurpose.LOGIN }));
    const place = `${this.#url}/lucky.user.v1.UserService/UpdateProfile?access_token=${odd}`;
    for (const body of [
      `{"location":${odd}`,
      `{"birthday":{"year":"${odd}"}}`,
      `{"birthday":"${odd}"}`,
    ]) {
      const headers = { "content-type": "application/json", authorization: `Bearer ${token}` };
      const answer = await fetch(place, { method: "POST", headers, body });
      if (answer.ok) throw new Error("it should have failed");
      // The JSON parser quotes its input in the answer to the caller; the log must not.
      await answer.text();
    }
  }
}

/** Finds a secret in a text. Returns an excerpt around it; undefined when it is absent. */
export function findSecret(haystack: string, { value }: Secret): string | undefined {
  // Six digits occur inside longer numbers by chance.
  const digits = /^\d+$/.test(value);
  const at = digits
    ? haystack.search(new RegExp(`(?<![0-9a-zA-Z.])${value}(?![0-9a-zA-Z])`))
    : haystack.indexOf(value);
  return at < 0 ? undefined : haystack.slice(Math.max(0, at - 200), at + value.length + 100);
}
