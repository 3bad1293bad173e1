/** Files and folders dropped from the desktop, as a flat list with relative paths. */

export interface IDropped {
  /** Relative to where it was dropped: `folder/sub/name`. */
  path: string;
  /** null of a folder. */
  file: File | null;
}

/** Read a drop. The items die with the event, so their entries are taken first. */
export async function collectDropped(transfer: DataTransfer): Promise<IDropped[]> {
  const entries = Array.from(transfer.items)
    .filter(item => item.kind === 'file')
    .map(item => item.webkitGetAsEntry());
  if (entries.length && entries.every(entry => entry !== null)) {
    const found: IDropped[] = [];
    for (const entry of entries) {
      await walk(entry as FileSystemEntry, '', found);
    }
    return found;
  }
  return fromFiles(Array.from(transfer.files));
}

/** Chosen in a file dialog; folders come with relative paths. */
export function fromFiles(files: File[]): IDropped[] {
  const found: IDropped[] = [];
  const folders = new Set<string>();
  for (const file of files) {
    const path = file.webkitRelativePath || file.name;
    const parts = path.split('/');
    for (let depth = 1; depth < parts.length; depth += 1) {
      const folder = parts.slice(0, depth).join('/');
      if (!folders.has(folder)) {
        folders.add(folder);
        found.push({ path: folder, file: null });
      }
    }
    found.push({ path, file });
  }
  return found;
}

async function walk(entry: FileSystemEntry, above: string, found: IDropped[]): Promise<void> {
  const path = above + entry.name;
  if (entry.isFile) {
    const file = await new Promise<File>((resolve, reject) => {
      (entry as FileSystemFileEntry).file(resolve, reject);
    });
    found.push({ path, file });
    return;
  }
  found.push({ path, file: null });
  const reader = (entry as FileSystemDirectoryEntry).createReader();
  for (;;) {
    // At most a hundred at a time; an empty answer ends it.
    const some = await new Promise<FileSystemEntry[]>((resolve, reject) => {
      reader.readEntries(resolve, reject);
    });
    if (!some.length) {
      return;
    }
    for (const one of some) {
      await walk(one, `${path}/`, found);
    }
  }
}
