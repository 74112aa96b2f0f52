import { fromBinary } from "@bufbuild/protobuf";
import { RpcResultSchema } from "#gen/lucky/frame/v1/frame_pb.js";
import { rpcFrame } from "../dialects/lucky.ts";
import type { Device } from "./device.ts";
import type { Devices } from "./devices.ts";

/**
 * Time-out of a call, milliseconds. It is long because all devices may call at the same time, and a call then
 * waits for the calls before it.
 */
const ANSWER_TIMEOUT_MS = 60_000;

/** The device that calls. */
export interface Caller {
  readonly devices: Devices;
  readonly device: Device;
}

/** A call of lucky.message.v1.MessageService. */
export interface Call {
  readonly method: string;
  /** The encoded request. */
  readonly request: Uint8Array;
}

interface Waiting {
  resolve(response: Uint8Array): void;
  reject(error: Error): void;
}

/** Calls over the sockets of devices. A device has one call at a time. */
export class DeviceCalls {
  readonly #waiting = new Map<Device, Waiting>();

  /**
   * Makes a call; resolves with the encoded response. Rejects when the call fails or times out, and when
   * the session ends before the answer.
   */
  async call({ devices, device }: Caller, { method, request }: Call): Promise<Uint8Array> {
    if (!device.isOpen) throw new Error("the session had ended");
    let timer: NodeJS.Timeout | undefined;
    try {
      return await new Promise<Uint8Array>((resolve, reject) => {
        this.#waiting.set(device, { resolve, reject });
        timer = setTimeout(() => {
          const seconds = ANSWER_TIMEOUT_MS / 1_000;
          this.#take(device)?.reject(new Error(`${method} had no answer within ${seconds} s`));
        }, ANSWER_TIMEOUT_MS);
        device.write(rpcFrame(`lucky.message.v1.MessageService/${method}`, request));
        devices.flush();
      });
    } finally {
      clearTimeout(timer);
    }
  }

  /** Takes the encoded RpcResult for the call of a device. */
  answered(device: Device, result: Uint8Array): void {
    const { outcome } = fromBinary(RpcResultSchema, result);
    const waiting = this.#take(device);
    if (outcome.case === "response") waiting?.resolve(outcome.value);
    else waiting?.reject(new Error(`a call failed: ${outcome.value?.text}`));
  }

  /** Fails the call of a device whose session has ended. */
  ended(device: Device, why: string): void {
    this.#take(device)?.reject(new Error(`the session ended with ${why}`));
  }

  /** Removes the call of a device, if it has one. */
  #take(device: Device): Waiting | undefined {
    const waiting = this.#waiting.get(device);
    this.#waiting.delete(device);
    return waiting;
  }
}
