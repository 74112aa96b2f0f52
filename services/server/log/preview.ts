import { create } from "@bufbuild/protobuf";
import type { Content } from "#gen/lucky/message/v1/content_pb.js";
import { type Preview, PreviewSchema } from "#gen/lucky/message/v1/conversation_pb.js";
import type { Entry } from "#gen/lucky/message/v1/entry_pb.js";
import { kindNumber } from "./kinds.ts";

/** Maximum length of a preview's text, characters. */
const MAX_PREVIEW_CHARACTERS = 100;
/** White space, as Unicode and JavaScript know it, and the control characters. */
const SPACE = /[\s\p{Cc}]+/gu;
/** Splits a text into characters as people see them. */
const CLUSTERS = new Intl.Segmenter("en", { granularity: "grapheme" });

/** The preview of an entry, for lists, notifications and quotes: its kind and the start of its text. */
export function previewOf({ sequence, senderId, content }: Entry): Preview {
  const name = content?.kind.case;
  const kind = name === undefined ? 0 : kindNumber(name);
  const text = content === undefined ? "" : firstText(content) || content.fallbackText;
  return create(PreviewSchema, { sequence, senderId, kind, text: shorten(text) });
}

/** The first text of a content; empty for none. */
function firstText({ kind }: Pick<Content, "kind">): string {
  switch (kind.case) {
    case "text":
      return kind.value.text;
    case "image":
    case "video":
    case "audio":
      return kind.value.caption;
    case "file":
      return kind.value.caption || kind.value.fileName;
    case "location":
      return kind.value.title || kind.value.address;
    case "composite":
      for (const part of kind.value.parts) {
        const text = firstText(part);
        if (text !== "") return text;
      }
      return "";
    case "contactCard":
      return kind.value.displayName;
    case "groupInvitation":
      return kind.value.name;
    case "joinRequest":
      return kind.value.greeting;
    default:
      return "";
  }
}

/**
 * Joins white space, and cuts between characters as people see them: an emoji may be several characters of
 * Unicode. Only one that is longer than the preview is cut.
 */
function shorten(text: string): string {
  const joined = text.replace(SPACE, " ").trim();
  const start = [...joined].slice(0, MAX_PREVIEW_CHARACTERS).join("");
  if (start.length === joined.length) return joined;
  const { index } = CLUSTERS.segment(joined).containing(start.length)!;
  return (joined.slice(0, index) || start).trimEnd();
}
