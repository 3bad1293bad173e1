/**
 * Drags onto the user's own file browser: what comes from a container is pulled.
 *
 * The stock listing would try to move it within one drive and fail, so its drop is caught before.
 */

import type { FileBrowser } from '@jupyterlab/filebrowser';
import type { Drag } from '@lumino/dragdrop';

import { CONTENTS_MIME } from './listing';
import { isOurs } from './places';

/** Call `pull` with paths of ours that were dropped on `files`, and the directory they go to. */
export function catchDrops(
  files: FileBrowser,
  pull: (paths: string[], directory: string) => void
): void {
  files.node.addEventListener(
    'lm-drop',
    event => {
      const drag = event as Drag.Event;
      const paths = (drag.mimeData.getData(CONTENTS_MIME) ?? []) as string[];
      if (!paths.some(isOurs)) {
        return;
      }
      drag.preventDefault();
      drag.stopPropagation();
      drag.dropAction = 'copy';
      files.node.querySelectorAll('.jp-mod-dropTarget').forEach(one => {
        one.classList.remove('jp-mod-dropTarget');
      });
      pull(paths, folderAt(files, drag));
    },
    true
  );
  // Between the rows the stock listing takes nothing; we do.
  files.node.addEventListener(
    'lm-dragover',
    event => {
      const drag = event as Drag.Event;
      const paths = (drag.mimeData.getData(CONTENTS_MIME) ?? []) as string[];
      if (paths.some(isOurs)) {
        drag.preventDefault();
        drag.stopPropagation();
        drag.dropAction = drag.proposedAction;
      }
    },
    true
  );
  files.node.addEventListener(
    'lm-dragenter',
    event => {
      const drag = event as Drag.Event;
      if (((drag.mimeData.getData(CONTENTS_MIME) ?? []) as string[]).some(isOurs)) {
        drag.preventDefault();
        drag.stopPropagation();
      }
    },
    true
  );
}

/** The folder under the pointer, else the listed directory. */
function folderAt(files: FileBrowser, event: MouseEvent): string {
  const row = document
    .elementsFromPoint(event.clientX, event.clientY)
    .find(one => one.classList.contains('jp-DirListing-item') && files.node.contains(one));
  const name = row?.querySelector('.jp-DirListing-itemText')?.textContent ?? '';
  const item = [...files.model.items()].find(one => one.name === name);
  return row && item?.type === 'directory' ? item.path : files.model.path;
}
