import { create } from "@bufbuild/protobuf";
import type { ServiceImpl } from "@connectrpc/connect";
import { type AdminService, AuditEntrySchema } from "#gen/lucky/admin/v1/admin_pb.js";
import { idOfPageToken, pageOf, pageTokenOf } from "#platform/rpc/pages.ts";
import type { Audit, Database } from "../database.ts";

/** Entries in one page when the request names no size. */
const DEFAULT_PAGE_SIZE = 50;

/** Lists the audit log, newest entry first. */
export function createAuditLog({
  database,
}: {
  database: Database;
}): Pick<ServiceImpl<typeof AdminService>, "listAudit"> {
  return {
    async listAudit({ userId, actorId, pageSize, pageToken }) {
      const size = pageSize || DEFAULT_PAGE_SIZE;
      const before = idOfPageToken(pageToken);
      const rows = await database.audit.findMany({
        where: {
          ...(userId === "0" ? {} : { userId: BigInt(userId) }),
          ...(actorId === "0" ? {} : { actorId: BigInt(actorId) }),
          ...(before === undefined ? {} : { auditId: { lt: before } }),
        },
        orderBy: { auditId: "desc" },
        take: size + 1,
      });
      const { page, nextPageToken } = pageOf(rows, size, ({ auditId }) => pageTokenOf(auditId));
      return { entries: page.map(entryOf), nextPageToken };
    },
  };
}

function entryOf({ auditId, actorId, userId, at, ...rest }: Audit) {
  return create(AuditEntrySchema, {
    ...rest,
    auditId: String(auditId),
    actorId: String(actorId),
    userId: String(userId),
    atMs: BigInt(at.getTime()),
  });
}
