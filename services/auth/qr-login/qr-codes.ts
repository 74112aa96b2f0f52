import { createHash, randomBytes, timingSafeEqual } from "node:crypto";
import qrcode from "qrcode-generator";

/** What the text of a QR code begins with; the id of the QR login follows. */
const TEXT_BEFORE_ID = "lucky://qr-login/";

const ID_BYTES = 16;
const SECRET_BYTES = 32;
/** Side of a dark square, in the SVG's own units; how large it is shown is the page's business. */
const CELL_SIZE = 4;
/** Quiet zone around the code that ISO/IEC 18004 asks for: four squares. */
const MARGIN = 4 * CELL_SIZE;

/** A fresh id, 128 random bits, and a fresh secret, 256: both in base64url. */
export function makeQrLogin(): { qrLoginId: string; secret: string } {
  return {
    qrLoginId: randomBytes(ID_BYTES).toString("base64url"),
    secret: randomBytes(SECRET_BYTES).toString("base64url"),
  };
}

/** The text that the code says, and the code as an SVG document without a size of its own. */
export function drawQrCode(qrLoginId: string): { text: string; svg: string } {
  const text = `${TEXT_BEFORE_ID}${qrLoginId}`;
  const code = qrcode(0, "M");
  code.addData(text);
  code.make();
  return { text, svg: code.createSvgTag({ cellSize: CELL_SIZE, margin: MARGIN, scalable: true }) };
}

/** What is stored of an id or a secret: they are too random to be tried. */
export function hashOf(token: string): Uint8Array<ArrayBuffer> {
  return new Uint8Array(createHash("sha256").update(token).digest());
}

/** Whether the hash is that of the token. Takes as long either way. */
export function isHashOf(hash: Uint8Array, token: string): boolean {
  const given = hashOf(token);
  return given.length === hash.length && timingSafeEqual(given, hash);
}
