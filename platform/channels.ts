/** Names of channels: routing topics that sessions hear. Ids are decimal strings. */
export const userChannel = (userId: string): string => `u:${userId}`;
export const groupChannel = (groupId: string): string => `g:${groupId}`;
