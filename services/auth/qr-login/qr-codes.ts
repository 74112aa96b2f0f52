import { createHash, randomBytes, timingSafeEqual } from "node:crypto";
import qrcode from "qrcode-generator";

/** Prefix of a QR code's text, before the id of the QR login. */
const TEXT_PREFIX = "lucky://qr-login/";

const ID_BYTES = 16;
const SECRET_BYTES = 32;
/** Side of a module, in SVG user units. The page chooses the displayed size. */
const CELL_SIZE = 4;
/** Quiet zone around the code, required by ISO/IEC 18004: four modules. */
const MARGIN = 4 * CELL_SIZE;

/** Generates an id (128 random bits) and a secret (256 random bits), both in base64url. */
export function makeQrLogin(): { qrLoginId: string; secret: string } {
  return {
    qrLoginId: randomBytes(ID_BYTES).toString("base64url"),
    secret: randomBytes(SECRET_BYTES).toString("base64url"),
  };
}

/** The text of the QR code, and the code as an SVG document without a fixed size. */
export function drawQrCode(qrLoginId: string): { text: string; svg: string } {
  const text = `${TEXT_PREFIX}${qrLoginId}`;
  const code = qrcode(0, "M");
  code.addData(text);
  code.make();
  return { text, svg: code.createSvgTag({ cellSize: CELL_SIZE, margin: MARGIN, scalable: true }) };
}

/** SHA-256 of an id or a secret, for storage. A plain hash suffices: the input is too random to guess. */
export function hashOf(token: string): Uint8Array<ArrayBuffer> {
  return new Uint8Array(createHash("sha256").update(token).digest());
}

/** Whether the hash belongs to the token. Compares in constant time. */
export function isHashOf(hash: Uint8Array, token: string): boolean {
  const given = hashOf(token);
  return given.length === hash.length && timingSafeEqual(given, hash);
}
