import type { ServiceImpl } from "@connectrpc/connect";
import type { DeviceService } from "#gen/lucky/auth/v1/device_pb.js";
import { userOf } from "#platform/identity/caller.ts";
import { idOfPageToken, pageOf, pageTokenOf } from "#platform/rpc/pages.ts";
import type { SecurityNotices } from "./security-notices.ts";

/** Notices in one page when the request names no size. */
const DEFAULT_PAGE_SIZE = 50;

/** Lists the security notices of the caller, newest first. */
export function createNoticeList({
  notices,
}: {
  notices: Pick<SecurityNotices, "list">;
}): Pick<ServiceImpl<typeof DeviceService>, "listSecurityNotices"> {
  return {
    async listSecurityNotices({ pageSize, pageToken }, context) {
      const size = pageSize || DEFAULT_PAGE_SIZE;
      const before = idOfPageToken(pageToken);
      const found = await notices.list(userOf(context).userId, { size: size + 1, before });
      const { page, nextPageToken } = pageOf(found, size, ({ noticeId }) =>
        pageTokenOf(BigInt(noticeId)),
      );
      return { notices: page, nextPageToken };
    },
  };
}
