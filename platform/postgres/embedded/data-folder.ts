/** Texts for operators by the code of an error of the file system. */
const REMEDIES: Readonly<Record<string, (folder: string) => string>> = {
  ENOSPC: (folder) => `The disk of ${folder} is full. Free some space, or use another data folder.`,
  EDQUOT: (folder) =>
    `The disk quota of ${folder} is used up. Raise it, or use another data folder.`,
  EROFS: (folder) => `The file system of ${folder} is read-only. Use another data folder.`,
  EACCES: (folder) => `The data folder ${folder} cannot be used: permission denied.`,
  EPERM: (folder) => `The data folder ${folder} cannot be used: permission denied.`,
  EEXIST: (folder) => `The data folder ${folder} is not a folder.`,
  ENOTDIR: (folder) => `The data folder ${folder} is not a folder.`,
  ENAMETOOLONG: (folder) => `The path of the data folder ${folder} is too long.`,
};

/** The same errors in the output of PostgreSQL's programs. */
const TEXTS: readonly [text: string, code: string][] = [
  ["No space left on device", "ENOSPC"],
  ["Check free disk space", "ENOSPC"],
  ["Disk quota exceeded", "EDQUOT"],
  ["Read-only file system", "EROFS"],
];

/**
 * Runs work on a data folder. An error of the file system becomes an error for operators, with the
 * first one as its cause; any other error is rethrown as it is.
 */
export async function onDataFolder<T>(folder: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    const remedy = REMEDIES[codeOf(error)];
    if (remedy === undefined) throw error;
    throw new Error(remedy(folder), { cause: error });
  }
}

function codeOf(error: unknown): string {
  if (!(error instanceof Error)) return "";
  const { code, syscall, message } = error as NodeJS.ErrnoException;
  // An error of a program that cannot be started is not one of the folder.
  if (code !== undefined && code in REMEDIES) return syscall?.startsWith("spawn") ? "" : code;
  return TEXTS.find(([text]) => message.includes(text))?.[1] ?? "";
}
