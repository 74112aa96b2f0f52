import { randomInt } from "node:crypto";
import { create } from "@bufbuild/protobuf";
import { type SyncResponse, SyncResponseSchema } from "#gen/lucky/message/v1/message_pb.js";
import { MAX_LOGS } from "#platform/config/settings.ts";
import { parseId } from "#platform/ids.ts";
import { bigints } from "../log/arrays.ts";
import type { Database, Statement } from "../log/database.ts";
import { PAGE_BYTES } from "../log/entries.ts";
import { type Logs, throwFirst } from "../log/logs.ts";
import { obsoleteRows } from "../log/moved-rows.ts";
import {
  encodePosition,
  type Position,
  parsePosition,
  START,
  settledChange,
} from "../log/positions.ts";
import {
  CONVERSATION_COLUMNS,
  type ConversationRow,
  conversationOf,
  ENTRY_TABLES,
  MEMBER_COLUMNS,
  MEMBER_TABLES,
} from "./conversation-rows.ts";

interface ChangedConversationRow extends ConversationRow {
  changed_by: string;
  member_version: string;
}

/** One row per conversation; without conversations, one row with null columns. */
type SyncRow = (ChangedConversationRow | { conversation_id: null }) & {
  history: string;
  /** Changes of transactions from here on may be invisible to this read. */
  lowest_running: string;
  /** Which position of the cursor was continued, from 1; 0: the rows are from the beginning. */
  position: number;
};

/**
 * The caller's conversations in one database that changed after a position, oldest change first. Of
 * the positions in $2 to $4 (histories, changes, conversation ids), the one of the database's history
 * applies. A change is a new entry or a moved cursor, of the caller or of the other user of a direct
 * conversation. For a caller who has left a group, the group no longer changes. Without a position of
 * this history, or with one that is ahead, all conversations are selected.
 */
export const selectChanged: Statement = {
  name: "im_sync",
  route: { kind: "everywhere", merge: "all rows; each database has a position in the cursor" },
  text: `
    WITH log AS MATERIALIZED (
      SELECT now.history, now.lowest_running,
             coalesce(p.nr, 0)::int AS position,
             coalesce(p.change, '0') AS after_change, coalesce(p.conversation_id, 0) AS after_id
        FROM (SELECT im.history() AS history, pg_snapshot_xmin(pg_current_snapshot()) AS lowest_running,
                     pg_snapshot_xmax(pg_current_snapshot()) AS next) now
        LEFT JOIN LATERAL (
          SELECT i.* FROM unnest($2::text[], $3::xid8[], $4::bigint[])
                       WITH ORDINALITY AS i(history, change, conversation_id, nr)
           WHERE i.history = now.history AND i.change <= now.next LIMIT 1) p ON true
    ), page AS MATERIALIZED (
      SELECT ${MEMBER_COLUMNS}, changed.by AS changed_by, abs(c.member_version) AS member_version
        FROM log CROSS JOIN ${MEMBER_TABLES}
       CROSS JOIN LATERAL (
         SELECT CASE WHEN m.left_sequence > 0 THEN m.changed_by
                     ELSE greatest(c.changed_by, m.changed_by, p.changed_by)
                END AS by) changed
       WHERE m.user_id = $1::bigint AND c.last_sequence > 0
         AND (changed.by, m.conversation_id) > (log.after_change, log.after_id)
       ORDER BY changed.by, m.conversation_id
       LIMIT $5::int
    )
    SELECT log.history, log.lowest_running, log.position, ${CONVERSATION_COLUMNS}
      FROM log LEFT JOIN page ON true ${ENTRY_TABLES}
     ORDER BY page.changed_by, page.conversation_id`,
};

const DEFAULT_PAGE_SIZE = 100;

/**
 * The position in one database. Within a run of pages, it also has the last conversation and the
 * position for the next run.
 */
interface RunPosition extends Position {
  /** Last conversation of the previous page; "0" at the start of a run. */
  readonly conversationId: string;
  /** Position for the run after this one; undefined at the start of a run. */
  readonly next: string | undefined;
}

/** A read of one database. */
interface DatabasePage {
  readonly db: Database;
  /** The position that was continued; undefined for a read from the beginning. */
  readonly continued: RunPosition | undefined;
  readonly history: string;
  /** Position for the run after this one. */
  readonly next: string;
  readonly rows: readonly ChangedConversationRow[];
}

/** Value of `retry_after_ms` while a database fails. */
const RETRY_AFTER_MS = 2_000;

/**
 * Reads one page of the user's changed conversations, from all databases of the log. The cursor has a
 * position for each database. Within a run of pages a position moves strictly forward. After the last
 * page it returns to the lowest transaction that was running at the start of the run, because
 * transactions in flight may commit earlier changes. It is at most the id after the last change that
 * the user has received, because PostgreSQL may reuse later ids after a crash. A database without a
 * position of its history is read from the beginning. A database that fails keeps its position, and the
 * response says when to repeat the call. Throws UNAVAILABLE when all fail.
 */
export async function syncPage(
  logs: Logs,
  { userId, request }: { userId: string; request: { cursor: string; pageSize: number } },
): Promise<SyncResponse> {
  const positions = decode(request.cursor);
  // Each database has its share of the page, so that none has to wait for the changes of another one.
  const limit = request.pageSize || DEFAULT_PAGE_SIZE;
  const room = {
    rows: Math.ceil(limit / logs.databases.length),
    bytes: PAGE_BYTES / logs.databases.length,
  };
  const { results, failures } = await logs.everywhere((db) =>
    readPage(db, { userId, positions, limit: room.rows }),
  );
  if (results.length === 0) throwFirst(failures);
  const isObsolete = await obsoleteRows(logs, results);
  const taken: ChangedConversationRow[] = [];
  // Keep the positions that no read has continued: they may be of the databases that failed.
  const continued = new Set(results.map((page) => page.continued));
  const next = failures.length > 0 ? positions.filter((one) => !continued.has(one)) : [];
  let hasMore = false;
  let bytesLeft = PAGE_BYTES;
  // The shares may add up to more than the limit: the last database of the page changes.
  const first = randomInt(results.length);
  for (const page of [...results.slice(first), ...results.slice(0, first)]) {
    const rows = Math.min(room.rows, limit - taken.length);
    const count = fit(page.rows, { ...room, rows, most: bytesLeft });
    if (count < page.rows.length) hasMore = true;
    next.push(nextPosition(page, count));
    for (const row of page.rows.slice(0, count)) bytesLeft -= bytesOf(row);
    taken.push(...page.rows.slice(0, count).filter((row) => !isObsolete(page.db, row)));
  }
  return create(SyncResponseSchema, {
    conversations: latest(taken).map(conversationOf),
    nextCursor: next.map(encode).join(","),
    hasMore,
    retryAfterMs: BigInt(failures.length > 0 ? RETRY_AFTER_MS : 0),
  });
}

/** Reads the rows of one database, one more than the limit. Throws UNAVAILABLE. */
async function readPage(
  db: Database,
  {
    userId,
    positions,
    limit,
  }: {
    userId: string;
    positions: readonly RunPosition[];
    limit: number;
  },
): Promise<DatabasePage> {
  const read = await db.run<SyncRow>(selectChanged, [
    userId,
    `{${positions.map(({ history }) => history).join(",")}}`,
    `{${positions.map(({ change }) => change).join(",")}}`,
    bigints(positions.map(({ conversationId }) => conversationId)),
    limit + 1,
  ]);
  const { history, lowest_running: lowestRunning, position } = read[0]!;
  const continued = positions[position - 1];
  const rows = read.filter((row) => row.conversation_id !== null);
  // After a crash of PostgreSQL, transactions can get ids below the end of an older page's run.
  const next = lower(continued?.next ?? lowestRunning, lowestRunning);
  return { db, continued, history, next, rows };
}

/** The position after the first `count` rows of a page. */
function nextPosition(
  { continued, history, next, rows }: DatabasePage,
  count: number,
): RunPosition {
  const last = rows[count - 1];
  if (count === rows.length) {
    const reached = last ? BigInt(last.changed_by) + 1n : BigInt(continued?.change ?? 0);
    const change = settledChange(next, reached);
    return { history, change, conversationId: "0", next: undefined };
  }
  if (last === undefined)
    return continued ?? { history, change: START.change, conversationId: "0", next: undefined };
  const { changed_by: change, conversation_id: conversationId } = last;
  return { history, change, conversationId, next };
}

/** The share of a database in a page. */
interface Room {
  readonly rows: number;
  readonly bytes: number;
  /** Bytes that are left in the page. */
  readonly most: number;
}

/** A row with an entry; without one when the user deleted all that the row could show. */
interface SizedRow {
  readonly body: Uint8Array | null;
}

const bytesOf = ({ body }: SizedRow) => body?.length ?? 0;

/** Number of rows that fit: into the share, but one row fits if there is room in the page. */
export function fit(rows: readonly SizedRow[], room: Room): number {
  let bytes = 0;
  for (const [index, row] of rows.entries()) {
    bytes += bytesOf(row);
    const most = index === 0 ? room.most : Math.min(room.bytes, room.most);
    if (index === room.rows || bytes > most) return index;
  }
  return rows.length;
}

function lower(a: string, b: string): string {
  return BigInt(a) < BigInt(b) ? a : b;
}

/**
 * Keeps the latest row of a conversation that was read in two databases, because it moved between the
 * reads: a move raises the member version.
 */
function latest(rows: readonly ChangedConversationRow[]): ChangedConversationRow[] {
  const byId = new Map<string, ChangedConversationRow>();
  for (const row of rows) {
    const other = byId.get(row.conversation_id);
    if (other === undefined || BigInt(row.member_version) > BigInt(other.member_version))
      byId.set(row.conversation_id, row);
  }
  return [...byId.values()];
}

/**
 * Parses a cursor: positions separated by commas. A position alone starts a run;
 * "<position>/<conversation id>/<next change>" continues one. Other text is ignored, so that
 * Sync starts from the beginning: a device keeps its cursor over restores and upgrades.
 */
function decode(text: string): RunPosition[] {
  return text
    .split(",")
    .slice(0, MAX_LOGS)
    .flatMap((part) => decodeOne(part) ?? []);
}

function decodeOne(text: string): RunPosition | undefined {
  const [position = "", conversationId = "0", next] = text.split("/");
  const parsed = parsePosition(position);
  if (parsed === undefined) return undefined;
  if (text === position) return { ...parsed, conversationId, next: undefined };
  const isRun =
    parseId(conversationId) !== undefined &&
    parsePosition(`${parsed.history}.${next}`) !== undefined;
  return isRun ? { ...parsed, conversationId, next } : undefined;
}

function encode({ conversationId, next, ...position }: RunPosition): string {
  const start = encodePosition(position);
  return next === undefined ? start : `${start}/${conversationId}/${next}`;
}
